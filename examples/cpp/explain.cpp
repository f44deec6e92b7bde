// Run a file of `onnxplain export` with ONNX Runtime.
#include <onnxruntime_cxx_api.h>

#include "program.hpp"

namespace {

using Values = std::map<std::string, Ort::Value>;

const Ort::MemoryInfo& memory() {
    static const Ort::MemoryInfo info = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return info;
}

template <typename T>
Ort::Value tensor(T* data, std::size_t count, const std::vector<std::int64_t>& shape) {
    return Ort::Value::CreateTensor<T>(memory(), data, count, shape.data(), shape.size());
}

std::vector<std::string> names_of_inputs(const Ort::Session& session) {
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < session.GetInputCount(); ++i)
        names.emplace_back(session.GetInputNameAllocated(i, allocator).get());
    return names;
}

std::vector<std::string> names_of_outputs(const Ort::Session& session) {
    Ort::AllocatorWithDefaultOptions allocator;
    std::vector<std::string> names;
    for (std::size_t i = 0; i < session.GetOutputCount(); ++i)
        names.emplace_back(session.GetOutputNameAllocated(i, allocator).get());
    return names;
}

/// A value of the metadata that holds JSON; null if there is none.
json metadata(const Ort::Session& session, const char* key) {
    Ort::AllocatorWithDefaultOptions allocator;
    const auto text = session.GetModelMetadata().LookupCustomMetadataMapAllocated(key, allocator);
    return text ? json::parse(text.get()) : json();
}

/// A map of the outputs, (1, rows, columns), as a matrix that owns its values.
cv::Mat matrix(const Ort::Value& map) {
    const auto shape = map.GetTensorTypeAndShapeInfo().GetShape();
    const int rows = static_cast<int>(shape.at(1)), columns = static_cast<int>(shape.at(2));
    return cv::Mat(rows, columns, CV_32F, const_cast<float*>(map.GetTensorData<float>())).clone();
}

Explanation explain(const Arguments& arguments) {
    static const Ort::Env environment;
    Ort::Session session(environment, arguments.model.c_str(), Ort::SessionOptions());
    const auto inputs = names_of_inputs(session), outputs = names_of_outputs(session);
    if (inputs.size() != 2 || inputs[1] != "target")
        throw std::runtime_error("This program gives a file a picture and a `target`; " + arguments.model.string() +
                                 " does not take these two inputs.");

    cv::Mat rgb = read_rgb(arguments.picture);
    const bool takes_pixels = inputs[0] == "picture";
    Placement placement;
    Tensor prepared;
    if (!takes_pixels) {
        const json settings = metadata(session, "onnxplain.preprocess");
        placement = place(rgb.size(), settings);
        prepared = prepare(rgb, placement, settings);
    }
    std::int64_t target = arguments.target;
    Ort::Value given[] = {
        takes_pixels ? tensor(rgb.data, rgb.total() * 3, {rgb.rows, rgb.cols, 3})
                     : tensor(prepared.values.data(), prepared.values.size(), prepared.shape),
        tensor(&target, 1, {1}),
    };

    std::vector<const char*> wanted;
    for (const std::string& name : outputs) wanted.push_back(name.c_str());
    const char* const names[] = {inputs[0].c_str(), inputs[1].c_str()};
    auto results = session.Run(Ort::RunOptions(), names, given, 2, wanted.data(), wanted.size());
    Values found;
    for (std::size_t i = 0; i < outputs.size(); ++i) found.emplace(outputs[i], std::move(results[i]));

    const Ort::Value& scores = found.at(outputs[0]);
    const float* first = scores.GetTensorData<float>();
    Explanation explanation;
    explanation.scores.assign(first, first + scores.GetTensorTypeAndShapeInfo().GetElementCount());
    explanation.status = *found.at("status").GetTensorData<std::int64_t>();
    explanation.explained = *found.at("explained").GetTensorData<std::int64_t>();
    explanation.labels = metadata(session, "onnxplain.labels");
    const cv::Mat heatmap = matrix(found.at("heatmap"));
    explanation.heatmap = takes_pixels ? heatmap : on_picture(heatmap, placement);
    const auto overlay = found.find("overlay");
    explanation.overlay = overlay == found.end()
                              ? draw(rgb, explanation.heatmap)
                              : cv::Mat(rgb.size(), CV_8UC3, overlay->second.GetTensorMutableData<std::uint8_t>()).clone();
    return explanation;
}

}  // namespace

int main(int count, char** given) { return program(count, given, explain); }
