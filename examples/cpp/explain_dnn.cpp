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
    const Choice choices = choice(file.inputs, about, arguments);
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
    if (choices.target) {
        const auto target = static_cast<double>(arguments.target.value_or(-1));
        network.setInput(cv::Mat(one, CV_32S, cv::Scalar(target)), about.name("target"));
    }
    if (choices.region) {
        // 0 everywhere means where the class is predicted.
        const std::vector<int> places{1, placement.input.height, placement.input.width};
        network.setInput(cv::Mat(places, CV_8U, cv::Scalar(0)), about.name("region"));
    }
    // OpenCV 5 wants to be asked for all outputs.
    std::vector<cv::Mat> results;
    network.forward(results, std::vector<cv::String>(file.outputs.begin(), file.outputs.end()));
    const auto find = [&](const char* usual) {
        const auto found = std::find(file.outputs.begin(), file.outputs.end(), about.name(usual));
        return results.at(found - file.outputs.begin());
    };

    Tensor answer{{}, {results[0].size.p, results[0].size.p + results[0].dims}};
    results[0].reshape(1, 1).copyTo(answer.values);
    const cv::Mat heatmap = on_picture(find("heatmap").reshape(1, placement.input.height), placement);
    return {
        about,
        answer,
        heatmap,
        draw(rgb, heatmap),
        whole(find("status")),
        choices.target ? std::optional(whole(find("explained"))) : std::nullopt,
    };
}

}  // namespace

int main(int count, char** given) { return program(count, given, explain); }
