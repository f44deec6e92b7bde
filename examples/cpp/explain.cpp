// Run a file of `onnxplain export` with ONNX Runtime.
#include <onnxruntime_cxx_api.h>

#include <functional>

#include "program.hpp"

namespace {

std::map<std::string, std::string> metadata(const Ort::Session& session) {
    Ort::AllocatorWithDefaultOptions allocator;
    const Ort::ModelMetadata all = session.GetModelMetadata();
    std::map<std::string, std::string> found;
    for (const auto& key : all.GetCustomMetadataMapKeysAllocated(allocator))
        found[key.get()] = all.LookupCustomMetadataMapAllocated(key.get(), allocator).get();
    return found;
}

using Name = std::function<Ort::AllocatedStringPtr(std::size_t)>;

std::vector<std::string> names(std::size_t count, const Name& name) {
    std::vector<std::string> found;
    for (std::size_t i = 0; i < count; ++i) found.emplace_back(name(i).get());
    return found;
}

template <typename T>
Ort::Value tensor(T* data, std::size_t count, const std::vector<std::int64_t>& shape) {
    static const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    return Ort::Value::CreateTensor<T>(memory, data, count, shape.data(), shape.size());
}

Tensor floats(const Ort::Value& value) {
    const auto about = value.GetTensorTypeAndShapeInfo();
    if (about.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT)
        throw std::runtime_error("This program reads answers of float32 only.");
    const float* start = value.GetTensorData<float>();
    return {{start, start + about.GetElementCount()}, about.GetShape()};
}

Explanation explain(const Arguments& arguments) {
    static const Ort::Env environment;
    Ort::Session session(environment, arguments.model.c_str(), Ort::SessionOptions());
    const About about(metadata(session));
    Ort::AllocatorWithDefaultOptions allocator;
    const auto inputs =
        names(session.GetInputCount(), [&](auto i) { return session.GetInputNameAllocated(i, allocator); });
    const auto outputs =
        names(session.GetOutputCount(), [&](auto i) { return session.GetOutputNameAllocated(i, allocator); });
    const Choice choices = choice(inputs, about, arguments);

    cv::Mat rgb = read_rgb(arguments.picture);
    const bool takes_pixels = inputs[0] == about.name("picture");
    Placement placement;
    Tensor prepared;
    if (!takes_pixels) {
        placement = place(rgb.size(), about.preprocess());
        prepared = prepare(rgb, placement, about.preprocess());
    }
    std::int64_t target = arguments.target.value_or(-1);
    std::vector<Ort::Value> given;
    given.push_back(takes_pixels ? tensor(rgb.data, rgb.total() * 3, {rgb.rows, rgb.cols, 3})
                                 : tensor(prepared.values.data(), prepared.values.size(), prepared.shape));
    if (choices.target) given.push_back(tensor(&target, 1, {1}));
    // A mask on the pixels of the heatmap; 0 everywhere means where the class is predicted.
    cv::Mat region = cv::Mat::zeros(takes_pixels ? rgb.size() : placement.input, CV_8U);
    if (choices.region) given.push_back(tensor(region.data, region.total(), {1, region.rows, region.cols}));
    std::vector<const char*> from, to;
    for (const std::string& name : inputs) from.push_back(name.c_str());
    for (const std::string& name : outputs) to.push_back(name.c_str());
    const auto results = session.Run(Ort::RunOptions(), from.data(), given.data(), from.size(), to.data(), to.size());

    const auto find = [&](const char* usual) -> const Ort::Value* {
        const auto found = std::find(outputs.begin(), outputs.end(), about.name(usual));
        return found == outputs.end() ? nullptr : &results[found - outputs.begin()];
    };
    Tensor heat = floats(*find("heatmap"));
    const cv::Mat heatmap(static_cast<int>(heat.shape.at(1)), static_cast<int>(heat.shape.at(2)), CV_32F,
                          heat.values.data());
    const cv::Mat on_pixels = takes_pixels ? heatmap.clone() : on_picture(heatmap, placement);
    const Ort::Value *overlay = find("overlay"), *explained = find("explained");
    return {
        about,
        floats(results[0]),
        on_pixels,
        overlay
            ? cv::Mat(rgb.size(), CV_8UC3, const_cast<std::uint8_t*>(overlay->GetTensorData<std::uint8_t>())).clone()
            : draw(rgb, on_pixels),
        *find("status")->GetTensorData<std::int64_t>(),
        explained ? std::optional(*explained->GetTensorData<std::int64_t>()) : std::nullopt,
    };
}

}  // namespace

int main(int count, char** given) { return program(count, given, explain); }
