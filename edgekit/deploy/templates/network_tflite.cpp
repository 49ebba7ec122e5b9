// The part of the C interface of LiteRT @LITERT@ that is used; the library lies in its Python wheel. Other versions may differ.
extern "C" {
typedef struct LiteRtEnvironmentT* LiteRtEnvironment;
typedef struct LiteRtModelT* LiteRtModel;
typedef struct LiteRtSignatureT* LiteRtSignature;
typedef struct LiteRtTensorT* LiteRtTensor;
typedef struct LiteRtOptionsT* LiteRtOptions;
typedef struct LiteRtCompiledModelT* LiteRtCompiledModel;
typedef struct LiteRtTensorBufferT* LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT* LiteRtTensorBufferRequirements;
struct LiteRtTensorType {  // element type and shape, handed on as they are
  std::int32_t words[18];
};
int LiteRtCreateEnvironment(int option_count, const void* options, LiteRtEnvironment*);
int LiteRtCreateModelFromFile(LiteRtEnvironment, const char* path, LiteRtModel*);
int LiteRtCreateOptions(LiteRtOptions*);
int LiteRtSetOptionsHardwareAccelerators(LiteRtOptions, int accelerators);
int LiteRtCreateCompiledModel(LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel*);
int LiteRtGetModelSignature(LiteRtModel, std::size_t signature, LiteRtSignature*);
int LiteRtGetSignatureInputTensorByIndex(LiteRtSignature, std::size_t index, LiteRtTensor*);
int LiteRtGetSignatureOutputTensorByIndex(LiteRtSignature, std::size_t index, LiteRtTensor*);
int LiteRtGetRankedTensorType(LiteRtTensor, LiteRtTensorType*);
int LiteRtGetCompiledModelInputBufferRequirements(LiteRtCompiledModel, std::size_t signature, std::size_t index,
                                                  LiteRtTensorBufferRequirements*);
int LiteRtGetCompiledModelOutputBufferRequirements(LiteRtCompiledModel, std::size_t signature, std::size_t index,
                                                   LiteRtTensorBufferRequirements*);
int LiteRtCreateManagedTensorBufferFromRequirements(LiteRtEnvironment, const LiteRtTensorType*,
                                                    LiteRtTensorBufferRequirements, LiteRtTensorBuffer*);
int LiteRtLockTensorBuffer(LiteRtTensorBuffer, void** address, int mode);
int LiteRtUnlockTensorBuffer(LiteRtTensorBuffer);
int LiteRtRunCompiledModel(LiteRtCompiledModel, std::size_t signature, std::size_t input_count, LiteRtTensorBuffer*,
                           std::size_t output_count, LiteRtTensorBuffer*);
}

class Network {  // lives as long as the program
 public:
  Network(const std::string& path, const Stage& stage) : stage_(&stage) {
    constexpr int kCpu = 1;
    LiteRtEnvironment environment;
    LiteRtModel model;
    LiteRtOptions options;
    LiteRtSignature signature;
    LiteRtTensor tensor;
    LiteRtTensorType type;
    LiteRtTensorBufferRequirements needs;
    check(LiteRtCreateEnvironment(0, nullptr, &environment), "start LiteRT");
    check(LiteRtCreateModelFromFile(environment, path.c_str(), &model), "read " + path);
    check(LiteRtCreateOptions(&options), "start LiteRT");
    check(LiteRtSetOptionsHardwareAccelerators(options, kCpu), "use the CPU");
    check(LiteRtCreateCompiledModel(environment, model, options, &compiled_), "compile " + path);
    check(LiteRtGetModelSignature(model, stage.signature, &signature), "find the network in " + path);
    check(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "find the input");
    check(LiteRtGetRankedTensorType(tensor, &type), "find the input");
    check(LiteRtGetCompiledModelInputBufferRequirements(compiled_, stage.signature, 0, &needs), "find the input");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &input_), "make room");
    check(LiteRtGetSignatureOutputTensorByIndex(signature, 0, &tensor), "find the output");
    check(LiteRtGetRankedTensorType(tensor, &type), "find the output");
    check(LiteRtGetCompiledModelOutputBufferRequirements(compiled_, stage.signature, 0, &needs), "find the output");
    check(LiteRtCreateManagedTensorBufferFromRequirements(environment, &type, needs, &output_), "make room");
  }

  std::vector<float> run(const std::vector<float>& x) {
    constexpr int kRead = 0, kWrite = 1;
    const End &in = stage_->input, &out = stage_->output;
    void* address;
    check(LiteRtLockTensorBuffer(input_, &address, kWrite), "write the input");
    for (std::size_t i = 0; i < x.size(); ++i)
      if (in.is_int8)
        static_cast<std::int8_t*>(address)[i] =
            std::int8_t(std::clamp(std::nearbyint(x[i] / in.scale) + in.zero, -128.0f, 127.0f));
      else
        static_cast<float*>(address)[i] = x[i];
    check(LiteRtUnlockTensorBuffer(input_), "write the input");
    check(LiteRtRunCompiledModel(compiled_, stage_->signature, 1, &input_, 1, &output_), "run");
    std::vector<float> y(kLabelCount);
    check(LiteRtLockTensorBuffer(output_, &address, kRead), "read the output");
    for (std::size_t i = 0; i < y.size(); ++i)
      y[i] = out.is_int8 ? (static_cast<std::int8_t*>(address)[i] - out.zero) * out.scale : static_cast<float*>(address)[i];
    check(LiteRtUnlockTensorBuffer(output_), "read the output");
    return y;
  }

 private:
  static void check(int status, const std::string& what) {
    if (status != 0) throw std::runtime_error("cannot " + what + ": LiteRT's status " + std::to_string(status));
  }

  const Stage* stage_;
  LiteRtCompiledModel compiled_;
  LiteRtTensorBuffer input_, output_;
};

