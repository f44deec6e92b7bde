// From a picture to a model's input, and from a map back to the picture.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>
#include <stdexcept>
#include <string>
#include <vector>

using nlohmann::json;

/// Where the resized picture lies in the model's input: at `offset`, which is negative for a crop.
struct Placement {
    cv::Size picture, resized, input;
    cv::Point offset;
};

/// A float32 tensor in C order.
struct Tensor {
    std::vector<float> values;
    std::vector<std::int64_t> shape;
};

/// Read a picture as (H, W, 3) RGB of 8 bits, rotated as EXIF says, without alpha.
inline cv::Mat read_rgb(const std::string& path) {
    const cv::Mat bgr = cv::imread(path, cv::IMREAD_COLOR);
    if (bgr.empty()) throw std::runtime_error(path + " is not a picture that OpenCV can read.");
    cv::Mat rgb;
    cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
    return rgb;
}

/// Save RGB pixels as a picture.
inline void write_rgb(const std::string& path, const cv::Mat& rgb) {
    cv::Mat bgr;
    cv::cvtColor(rgb, bgr, cv::COLOR_RGB2BGR);
    if (!cv::imwrite(path, bgr)) throw std::runtime_error(path + " cannot be written.");
}

/// Offset of a center crop, or of a centered picture that is too small to crop.
inline int centered(int resized, int input) {
    return resized >= input ? -static_cast<int>(std::lrint((resized - input) / 2.0)) : (input - resized) / 2;
}

/// Place a picture of this size, as `onnxplain.preprocess` in the metadata says.
inline Placement place(cv::Size picture, const json& settings) {
    const json& size = settings.at("size");
    if (!size.is_array() || !size[0].is_number() || !size[1].is_number())
        throw std::runtime_error(
            "The size of the model's input follows the picture: export with --with-preprocessing.");
    const cv::Size input(size[1].get<int>(), size[0].get<int>());
    const std::string fit = settings.value("fit", "stretch");
    if (fit == "stretch") return {picture, input, input, {0, 0}};
    if (fit == "letterbox") {
        const double scale = std::min(double(input.width) / picture.width, double(input.height) / picture.height);
        const auto side = [&](int old) { return std::max(1, static_cast<int>(std::lrint(old * scale))); };
        const cv::Size resized(side(picture.width), side(picture.height));
        const auto half = [](int rest) { return static_cast<int>(std::lrint(rest / 2.0 - 0.1)); };
        return {picture, resized, input, {half(input.width - resized.width), half(input.height - resized.height)}};
    }
    const json resize = settings.value("resize", json());
    cv::Size resized;
    if (resize.is_array()) {
        resized = {resize[1].get<int>(), resize[0].get<int>()};
    } else {
        const int side = resize.is_number() ? resize.get<int>() : std::min(input.width, input.height);
        const int shorter = std::min(picture.width, picture.height);
        resized = {side * picture.width / shorter, side * picture.height / shorter};
    }
    return {picture, resized, input, {centered(resized.width, input.width), centered(resized.height, input.height)}};
}

inline int interpolation(const json& settings) {
    static const std::map<std::string, int> known = {{"nearest", cv::INTER_NEAREST_EXACT},
                                                     {"bilinear", cv::INTER_LINEAR},
                                                     {"bicubic", cv::INTER_CUBIC},
                                                     {"area", cv::INTER_AREA},
                                                     {"lanczos", cv::INTER_LANCZOS4}};
    const std::string name = settings.value("interpolation", "bilinear");
    const auto found = known.find(name);
    if (found == known.end())
        throw std::runtime_error("OpenCV has no interpolation '" + name + "': export with --with-preprocessing.");
    return found->second;
}

/// One number for all channels, or one for each.
inline cv::Scalar per_channel(const json& settings, const char* name, double otherwise) {
    const json numbers = settings.value(name, json(otherwise));
    if (numbers.is_number()) return cv::Scalar::all(numbers.get<double>());
    if (numbers.size() == 1) return cv::Scalar::all(numbers[0].get<double>());
    return {numbers.at(0).get<double>(), numbers.at(1).get<double>(), numbers.at(2).get<double>()};
}

/// The model's input, (1, C, h, w) or (1, h, w, C): (v * scale - mean) / std for v in 0 to 255.
inline Tensor prepare(const cv::Mat& rgb, const Placement& at, const json& settings) {
    cv::Mat floats, resized;
    rgb.convertTo(floats, CV_32F);
    cv::resize(floats, resized, at.resized, 0, 0, interpolation(settings));
    resized = cv::max(cv::min(resized, cv::Scalar::all(255)), cv::Scalar::all(0));

    cv::Mat input(at.input, CV_32FC3, cv::Scalar::all(settings.value("pad", 0.0)));
    const cv::Rect window = cv::Rect(at.offset, at.resized) & cv::Rect({0, 0}, at.input);
    resized(window - at.offset).copyTo(input(window));

    const std::string channels = settings.value("channels", "RGB");
    if (channels == "BGR") cv::cvtColor(input, input, cv::COLOR_RGB2BGR);
    if (channels == "GRAY") cv::cvtColor(input, input, cv::COLOR_RGB2GRAY);
    input *= settings.value("scale", 1.0);
    cv::subtract(input, per_channel(settings, "mean", 0), input);
    cv::divide(input, per_channel(settings, "std", 1), input);

    const std::int64_t height = input.rows, width = input.cols, count = input.channels();
    if (settings.value("layout", "NCHW") == "NHWC") {
        const float* start = input.ptr<float>();
        return {{start, start + input.total() * count}, {1, height, width, count}};
    }
    Tensor tensor{{}, {1, count, height, width}};
    std::vector<cv::Mat> planes;
    cv::split(input, planes);
    for (const cv::Mat& plane : planes)
        tensor.values.insert(tensor.values.end(), plane.ptr<float>(), plane.ptr<float>() + plane.total());
    return tensor;
}

/// How each pixel of the picture reads one axis of a heatmap: at its center, linearly; (picture, input) float32.
inline cv::Mat reading(int picture, int resized, int offset, int input) {
    const int first = std::max(offset, 0), last = std::min(offset + resized, input) - 1;
    cv::Mat weights = cv::Mat::zeros(picture, input, CV_32F);
    for (int pixel = 0; pixel < picture; ++pixel) {
        const bool before = std::int64_t(pixel + 1) * resized <= std::int64_t(first - offset) * picture;
        const bool after = std::int64_t(pixel) * resized >= std::int64_t(last + 1 - offset) * picture;
        if (before || after) continue;  // cropped away
        const double center = (pixel + 0.5) * resized / picture + offset - 0.5;
        const double place = std::clamp(center, double(first), double(last));
        const int cell = static_cast<int>(place), next = std::min(cell + 1, last);
        weights.at<float>(pixel, cell) += static_cast<float>(1 - (place - cell));
        weights.at<float>(pixel, next) += static_cast<float>(place - cell);
    }
    return weights;
}

/// A heatmap of the model's input, (h, w), on the pixels of the picture; 0 where the model saw nothing.
inline cv::Mat on_picture(const cv::Mat& heatmap, const Placement& at) {
    const cv::Mat down = reading(at.picture.height, at.resized.height, at.offset.y, at.input.height);
    const cv::Mat across = reading(at.picture.width, at.resized.width, at.offset.x, at.input.width);
    return down * heatmap * across.t();
}

/// The picture with a heatmap of the same size in colors: (H, W, 3) RGB of 8 bits.
inline cv::Mat draw(const cv::Mat& rgb, const cv::Mat& heatmap) {
    cv::Mat bytes, colors, drawn;
    heatmap.convertTo(bytes, CV_8U, 255);
    cv::applyColorMap(bytes, colors, cv::COLORMAP_INFERNO);
    cv::cvtColor(colors, colors, cv::COLOR_BGR2RGB);
    cv::addWeighted(rgb, 0.5, colors, 0.5, 0, drawn);
    return drawn;
}
