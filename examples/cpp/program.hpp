// What `explain` and `explain_dnn` share: arguments, and what is done with an explanation.
#pragma once

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <numeric>
#include <string>
#include <vector>

#include "picture.hpp"

struct Arguments {
    std::filesystem::path model;
    std::string picture, overlay;
    std::int64_t target;  // a class, -1 for the top class, -2 for the second
};

/// What an exported file returns for one picture.
struct Explanation {
    std::vector<float> scores;
    cv::Mat heatmap;  // (H, W) float32 in [0, 1], on the pixels of the picture
    cv::Mat overlay;  // (H, W, 3) RGB of 8 bits
    std::int64_t status = 0, explained = 0;
    json labels;  // a list of names; empty if the file has none
};

inline std::string class_name(const json& labels, std::int64_t index) {
    const bool named = labels.is_array() && index >= 0 && index < static_cast<std::int64_t>(labels.size());
    return std::to_string(index) + (named ? " " + labels[index].get<std::string>() : "");
}

inline std::string status_in_words(std::int64_t status) {
    static const char* const words[] = {"the map is good", "the map is the same everywhere, so it shows nothing",
                                        "the map has values that are not finite", "the model has no such class"};
    return status >= 0 && status < 4 ? words[status] : "not known to this program";
}

/// Print the five top classes, the status and the explained class.
inline void print(const Explanation& found) {
    std::vector<std::size_t> order(found.scores.size());
    std::iota(order.begin(), order.end(), 0);
    const auto top = order.begin() + std::min<std::size_t>(5, order.size());
    std::partial_sort(order.begin(), top, order.end(),
                      [&](std::size_t a, std::size_t b) { return found.scores[a] > found.scores[b]; });
    for (auto index = order.begin(); index != top; ++index)
        std::printf("%10.6f  %s\n", found.scores[*index],
                    class_name(found.labels, static_cast<std::int64_t>(*index)).c_str());
    std::printf("explained: %s\n", class_name(found.labels, found.explained).c_str());
    std::printf("status: %d, %s\n", static_cast<int>(found.status), status_in_words(found.status).c_str());
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
        const Arguments arguments{given[1], given[2], given[3], count == 5 ? std::stoll(given[4]) : -1};
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
