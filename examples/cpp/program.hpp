// What `explain` and `explain_dnn` share: arguments, what a file says about itself, and what is printed.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "picture.hpp"

struct Arguments {
    std::filesystem::path model;
    std::string picture, overlay;
    std::optional<std::int64_t> target;  // a class, or -1 for the top class
};

/// The metadata of an exported file.
class About {
public:
    explicit About(std::map<std::string, std::string> metadata) : metadata_(std::move(metadata)) {
        if (metadata_.count("onnxplain.version") == 0)
            throw std::runtime_error("The model is not a file of `onnxplain export`.");
    }
    /// The name that an input or output has in this file: another one if the model uses the name.
    std::string name(const char* usual) const { return at("names").value(usual, usual); }
    /// How a picture becomes the model's input.
    json preprocess() const {
        const json settings = at("preprocess");
        if (settings.is_null()) throw std::runtime_error("The model does not take a picture.");
        return settings;
    }
    /// What was explained, in words: a number chooses it, unless the target is fixed in the file.
    std::string in_words(std::optional<std::int64_t> explained) const {
        const std::string target = metadata_.at("onnxplain.target");
        if (!explained) return target;
        return target == "a class" ? class_name(*explained) : target + ", " + std::to_string(*explained);
    }
    std::string class_name(std::int64_t index) const {
        const json labels = at("labels");
        const bool named = index >= 0 && index < static_cast<std::int64_t>(labels.size());
        return std::to_string(index) + (named ? " " + labels[index].get<std::string>() : "");
    }

private:
    /// A value that holds JSON; null if there is none.
    json at(const std::string& key) const {
        const auto found = metadata_.find("onnxplain." + key);
        return found == metadata_.end() ? json() : json::parse(found->second);
    }
    std::map<std::string, std::string> metadata_;
};

/// What an exported file returns for one picture.
struct Explanation {
    About about;
    Tensor answer;    // the model's first output
    cv::Mat heatmap;  // (H, W) float32 in [0, 1], on the pixels of the picture
    cv::Mat overlay;  // (H, W, 3) RGB of 8 bits
    std::int64_t status;
    std::optional<std::int64_t> explained;  // none if the target is fixed in the file
};

/// The inputs that choose what is explained: a class, and for a segmenter where.
struct Choice {
    bool target, region;
};

/// Which of them the file has. Its only other input, the first one, is the picture.
inline Choice choice(const std::vector<std::string>& inputs, const About& about, const Arguments& arguments) {
    const auto has = [&](const char* usual) {
        return std::find(inputs.begin(), inputs.end(), about.name(usual)) != inputs.end();
    };
    const Choice found{has("target"), has("region")};
    if (inputs.size() != std::size_t(1 + found.target + found.region))
        throw std::runtime_error("The model has other inputs than a picture, for which this program has no values.");
    if (!found.target && arguments.target)
        throw std::runtime_error("The file explains only one target, " + about.in_words({}) + ": name no other.");
    return found;
}

inline std::string status_in_words(std::int64_t status) {
    static const char* const words[] = {"the map shows something",
                                        "the map is the same everywhere, so it shows nothing",
                                        "the map has NaN or infinite values", "there is no such class or box"};
    return status >= 0 && status < 4 ? words[status] : "not known to this program";
}

/// Print the five top classes of a classifier, what was explained, and the status.
inline void print(const Explanation& found) {
    if (found.answer.shape.size() == 2) {
        const std::vector<float>& scores = found.answer.values;
        std::vector<std::size_t> order(scores.size());
        std::iota(order.begin(), order.end(), 0);
        const auto top = order.begin() + std::min<std::size_t>(5, order.size());
        std::partial_sort(order.begin(), top, order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
        for (auto index = order.begin(); index != top; ++index)
            std::printf("%10.6f  %s\n", scores[*index], found.about.class_name(*index).c_str());
    }
    std::printf("explained: %s\n", found.about.in_words(found.explained).c_str());
    std::printf("status: %d, %s\n", static_cast<int>(found.status), status_in_words(found.status).c_str());
}

inline std::int64_t whole_number(const std::string& text) {
    std::int64_t number = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number);
    if (read.ec != std::errc() || read.ptr != end) throw std::runtime_error(text + " is not the index of a class.");
    return number;
}

/// Run a program: MODEL PICTURE OVERLAY [TARGET]. Writes the overlay, and next to it the heatmap as a
/// TIFF file of float32. The exit status is 2 for wrong arguments, and 1 for an error.
template <typename Explain>
int program(int count, char** given, Explain explain) {
    if (count != 4 && count != 5) {
        std::fprintf(stderr, "usage: %s MODEL.onnx PICTURE OVERLAY.png [TARGET]\n", given[0]);
        return 2;
    }
    try {
        Arguments arguments{given[1], given[2], given[3], std::nullopt};
        if (count == 5) arguments.target = whole_number(given[4]);
        const Explanation found = explain(arguments);
        print(found);
        write_rgb(arguments.overlay, found.overlay);
        const auto heatmap = std::filesystem::path(arguments.overlay).replace_extension(".heatmap.tiff").string();
        if (!cv::imwrite(heatmap, found.heatmap)) throw std::runtime_error(heatmap + " cannot be written.");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
    return 0;
}
