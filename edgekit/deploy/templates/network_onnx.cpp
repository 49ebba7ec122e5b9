#include <onnxruntime_cxx_api.h>

class Network {
 public:
  Network(const std::string& path, const Stage& stage) : stage_(&stage) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    session_ = Ort::Session(environment(), path.c_str(), options);
  }

  std::vector<float> run(std::vector<float> x) {
    const std::int64_t shape[] = {1, 3, stage_->height, stage_->width};
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    auto given = Ort::Value::CreateTensor<float>(memory, x.data(), x.size(), shape, 4);
    const char *input = "@INPUT@", *output = "@OUTPUT@";
    auto found = session_.Run(Ort::RunOptions{nullptr}, &input, &given, 1, &output, 1);
    const float* y = found[0].GetTensorData<float>();
    return std::vector<float>(y, y + kLabelCount);
  }

 private:
  static Ort::Env& environment() {
    static Ort::Env one(ORT_LOGGING_LEVEL_ERROR, "classify");
    return one;
  }

  const Stage* stage_;
  Ort::Session session_{nullptr};
};

