// What OpenCV does not tell of an ONNX file: its metadata, and the names of its inputs and outputs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

struct ModelFile {
    std::map<std::string, std::string> metadata;
    std::vector<std::string> inputs, outputs;
};

/// The texts and messages in a message of protobuf, with their field numbers, in order.
inline std::vector<std::pair<int, std::string_view>> fields(std::string_view message) {
    const auto number = [&message] {
        std::uint64_t value = 0;
        for (int shift = 0; shift < 64 && !message.empty(); shift += 7) {
            const auto byte = static_cast<unsigned char>(message[0]);
            message.remove_prefix(1);
            value |= std::uint64_t(byte & 0x7f) << shift;
            if (byte < 0x80) return value;
        }
        throw std::runtime_error("The file is not an ONNX file.");
    };
    std::vector<std::pair<int, std::string_view>> found;
    while (!message.empty()) {
        const std::uint64_t key = number();
        const auto kind = key & 7;
        const std::uint64_t size = kind == 0 ? (number(), 0) : kind == 1 ? 8 : kind == 5 ? 4 : number();
        if (kind == 3 || kind == 4 || kind > 5 || size > message.size())
            throw std::runtime_error("The file is not an ONNX file.");
        if (kind == 2) found.emplace_back(static_cast<int>(key >> 3), message.substr(0, size));
        message.remove_prefix(size);
    }
    return found;
}

/// The first text of a message that has this field number.
inline std::string text(std::string_view message, int field) {
    for (const auto& [number, value] : fields(message))
        if (number == field) return std::string(value);
    return "";
}

/// Read the parts of a file that onnx.proto numbers so: metadata 14, graph 7, its inputs 11, outputs 12.
inline ModelFile read_model_file(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path.string() + " cannot be read.");
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    ModelFile read;
    for (const auto& [number, value] : fields(bytes)) {
        if (number == 14) read.metadata[text(value, 1)] = text(value, 2);
        if (number != 7) continue;
        for (const auto& [kind, declared] : fields(value)) {
            if (kind == 11) read.inputs.push_back(text(declared, 1));
            if (kind == 12) read.outputs.push_back(text(declared, 1));
        }
    }
    return read;
}
