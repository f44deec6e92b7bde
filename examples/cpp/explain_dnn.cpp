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
    const About about(file.metadata);
    const bool has_target = takes_target(file.inputs, about, arguments);
    if (file.inputs[0] == about.name("picture"))
        throw std::runtime_error(
            "This program prepares the picture itself: export without --with-preprocessing "
            "and --with-overlay.");
    const cv::Mat rgb = read_rgb(arguments.picture);
    const Placement placement = place(rgb.size(), about.preprocess());
    Tensor prepared = prepare(rgb, placement, about.preprocess());

    cv::dnn::Net network = read_network(arguments.model);
    const std::vector<int> shape(prepared.shape.begin(), prepared.shape.end()), one{1};
    network.setInput(cv::Mat(shape, CV_32F, prepared.values.data()), file.inputs[0]);
    std::vector<cv::String> wanted{file.outputs[0], about.name("heatmap"), about.name("status")};
    if (has_target) {
        const auto target = static_cast<double>(arguments.target.value_or(-1));
        network.setInput(cv::Mat(one, CV_32S, cv::Scalar(target)), file.inputs[1]);
        wanted.push_back(about.name("explained"));
    }
    std::vector<cv::Mat> results;
    network.forward(results, wanted);

    Tensor answer{{}, {results[0].size.p, results[0].size.p + results[0].dims}};
    results[0].reshape(1, 1).copyTo(answer.values);
    const cv::Mat heatmap = on_picture(results[1].reshape(1, placement.input.height), placement);
    return {
        about,
        answer,
        heatmap,
        draw(rgb, heatmap),
        whole(results[2]),
        has_target ? std::optional(whole(results[3])) : std::nullopt,
    };
}

}  // namespace

int main(int count, char** given) { return program(count, given, explain); }
