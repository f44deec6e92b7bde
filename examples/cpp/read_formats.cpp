// Read files that `onnxplain run` and `save` write, and print what they hold.
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <opencv2/imgcodecs.hpp>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

std::string read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be read.");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// Print the shape, the number of channels, the bits of each number, and the sum.
void print(const std::string& name, const cv::Mat& array) {
    std::string shape;
    for (int axis = 0; axis < array.dims; ++axis) shape += (axis ? " x " : "") + std::to_string(array.size[axis]);
    const cv::Scalar sums = cv::sum(array);
    std::printf("%s: %s, channels %d, bits %d, sum %.9g\n", name.c_str(), shape.c_str(), array.channels(),
                static_cast<int>(8 * array.elemSize1()), sums[0] + sums[1] + sums[2] + sums[3]);
}

/// An array of numpy: 8 bytes of name and version, 2 of the header's length, the header, the values.
cv::Mat read_npy(const std::string& path) {
    const std::string bytes = read_file(path);
    if (bytes.size() < 10 || bytes.compare(0, 8, std::string("\x93NUMPY\x01\x00", 8)) != 0)
        throw std::runtime_error(path + " is not a .npy file of version 1.");
    const auto byte = [&](std::size_t place) { return static_cast<unsigned char>(bytes[place]); };
    const std::size_t start = 10 + byte(8) + 256 * byte(9);
    const std::string header = bytes.substr(10, start - 10);
    if (header.find("'<f4'") == std::string::npos || header.find("'fortran_order': False") == std::string::npos)
        throw std::runtime_error(path + " does not hold float32 in C order.");

    std::istringstream sizes(header.substr(header.find('(') + 1));
    std::vector<int> shape;
    for (int size; sizes >> size; sizes.ignore(1, ',')) shape.push_back(size);
    cv::Mat values(static_cast<int>(shape.size()), shape.data(), CV_32F);
    if (bytes.size() != start + values.total() * values.elemSize())
        throw std::runtime_error(path + " is not complete.");
    std::memcpy(values.data, bytes.data() + start, bytes.size() - start);
    return values;
}

void show_npy(const std::string& path) { print(path, read_npy(path)); }

void show_image(const std::string& path) {
    const cv::Mat image = cv::imread(path, cv::IMREAD_UNCHANGED);
    if (image.empty()) throw std::runtime_error(path + " cannot be read.");
    print(path, image);
}

void show_storage(const std::string& path) {
    const cv::FileStorage file(path, cv::FileStorage::READ);
    if (!file.isOpened()) throw std::runtime_error(path + " cannot be read.");
    std::printf("%s: method %s, target %s\n", path.c_str(), std::string(file["method"]).c_str(),
                std::string(file["target"]).c_str());
    for (const char* name : {"values", "heatmap"}) {
        cv::Mat array;
        file[name] >> array;
        print(path + " " + name, array);
    }
}

void show_manifest(const std::string& path) {
    const auto manifest = nlohmann::json::parse(read_file(path));
    std::printf("%s: method %s, target %s, files %zu\n", path.c_str(), manifest.at("method").get<std::string>().c_str(),
                manifest.at("target").at("name").get<std::string>().c_str(), manifest.at("files").size());
}

void show(const std::string& path) {
    static const std::map<std::string, void (*)(const std::string&)> endings = {
        {".npy", show_npy},     {".png", show_image},     {".tiff", show_image},
        {".yml", show_storage}, {".json", show_manifest},
    };
    const auto found = endings.find(std::filesystem::path(path).extension().string());
    if (found == endings.end()) throw std::runtime_error(path + " is not a format of onnxplain.");
    found->second(path);
}

}  // namespace

int main(int count, char** given) {
    if (count < 2) {
        std::fprintf(stderr, "usage: %s FILE...\n", given[0]);
        return 2;
    }
    try {
        for (int i = 1; i < count; ++i) show(given[i]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
