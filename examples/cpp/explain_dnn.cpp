// Run a file of `onnxplain export` with OpenCV alone.
#include <opencv2/core/version.hpp>
#include <opencv2/dnn.hpp>

#include "model_file.hpp"
#include "program.hpp"

namespace {

cv::dnn::Net read_network(const std::filesystem::path& path) {
    try {
        return cv::dnn::readNetFromONNX(path.string());
    } catch (const cv::Exception& error) {
        throw std::runtime_error("OpenCV " CV_VERSION " cannot read " + path.string() +
                                 ": take OpenCV 5, and a method of one pass. It says: " + error.err);
    }
}

/// The only value of an output, whatever integer type this OpenCV gave it.
std::int64_t whole(const cv::Mat& output) {
    cv::Mat number;
    output.reshape(1, 1).convertTo(number, CV_64F);
    return static_cast<std::int64_t>(number.at<double>(0));
}

Explanation explain(const Arguments& arguments) {
    const ModelFile file = read_model_file(arguments.model);
    if (file.inputs.size() != 2 || file.inputs[0] == "picture" || file.inputs[1] != "target")
        throw std::runtime_error("This program gives a file a prepared picture and a `target`; " +
                                 arguments.model.string() + " does not take these two inputs.");
    const json settings = json::parse(file.metadata.at("onnxplain.preprocess"));
    const cv::Mat rgb = read_rgb(arguments.picture);
    const Placement placement = place(rgb.size(), settings);
    Tensor prepared = prepare(rgb, placement, settings);

    cv::dnn::Net network = read_network(arguments.model);
    const std::vector<int> shape(prepared.shape.begin(), prepared.shape.end()), one{1};
    network.setInput(cv::Mat(shape, CV_32F, prepared.values.data()), file.inputs[0]);
    network.setInput(cv::Mat(one, CV_32S, cv::Scalar(static_cast<double>(arguments.target))), file.inputs[1]);
    std::vector<cv::Mat> results;
    network.forward(results, std::vector<cv::String>{file.outputs[0], "heatmap", "status", "explained"});

    Explanation explanation;
    results[0].reshape(1, 1).copyTo(explanation.scores);
    explanation.heatmap = on_picture(results[1].reshape(1, placement.input.height), placement);
    explanation.overlay = draw(rgb, explanation.heatmap);
    explanation.status = whole(results[2]);
    explanation.explained = whole(results[3]);
    const auto labels = file.metadata.find("onnxplain.labels");
    if (labels != file.metadata.end()) explanation.labels = json::parse(labels->second);
    return explanation;
}

}  // namespace

int main(int count, char** given) { return program(count, given, explain); }
