// Says what is in a picture, with the answers of run.py: ./classify photo.ppm
//
// A picture is a binary PPM of any size, upright. README.md says how to make one, and how to compile.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

// ---- what this build is ----

// An array at an end of the file: float32, or int8 whose real value is scale * (number - zero).
struct End {
  bool is_int8;
  float scale;
  int zero;
};

struct Stage {
  const char* name;
  const char* file;
  int signature;  // of the file's networks
  int height, width;
  float mean[3], std[3];
  End input, output;
};

constexpr Stage kStages[] = {@STAGES@};
constexpr float kThreshold = @THRESHOLD@;  // so sure, no later stage is asked
constexpr bool kProbabilities = @PROBABILITIES@;  // else scores before a softmax
const char* const kLabels[] = {@LABELS@};
constexpr std::size_t kLabelCount = sizeof(kLabels) / sizeof(kLabels[0]);

// ---- pictures ----

struct Picture {  // RGB, row after row
  int width = 0, height = 0;
  std::vector<std::uint8_t> pixels;
};

Picture read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind, token;
  file >> kind;
  int numbers[3] = {0, 0, 0};
  for (int& number : numbers) {
    while (file >> token && token[0] == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    number = std::atoi(token.c_str());
  }
  file.get();
  const auto [width, height, most] = numbers;
  if (kind != "P6" || width < 1 || height < 1 || width > 65535 || height > 65535 || most != 255)
    throw std::runtime_error(path + " is no binary PPM of 8 bits");
  Picture picture{width, height, std::vector<std::uint8_t>(std::size_t{3} * width * height)};
  if (!file.read(reinterpret_cast<char*>(picture.pixels.data()), picture.pixels.size()))
    throw std::runtime_error(path + " is cut short");
  return picture;
}

// One direction of a bilinear resize with antialias, in Pillow's fixed point, to the bit.
Picture resized_along(const Picture& given, int length, bool vertical) {
  constexpr int kBits = 22;
  const int before = vertical ? given.height : given.width, lines = vertical ? given.width : given.height;
  const double scale = double(before) / length, support = std::max(scale, 1.0);
  Picture made{vertical ? given.width : length, vertical ? length : given.height, {}};
  made.pixels.resize(std::size_t{3} * length * lines);
  const auto place = [vertical](const Picture& picture, int along, int line) {
    return 3 * (vertical ? std::size_t(along) * picture.width + line : std::size_t(line) * picture.width + along);
  };
  for (int at = 0; at < length; ++at) {
    const double center = (at + 0.5) * scale;
    const int first = std::max(0, int(center - support + 0.5));
    const int count = std::min(before, int(center + support + 0.5)) - first;
    std::vector<double> weights(count);
    double sum = 0;
    for (int i = 0; i < count; ++i)
      sum += weights[i] = std::max(0.0, 1 - std::abs((i + first - center + 0.5) * (1 / support)));
    std::vector<int> fixed(count);
    for (int i = 0; i < count; ++i) fixed[i] = int(0.5 + weights[i] * (1 / sum) * (1 << kBits));
    for (int line = 0; line < lines; ++line)
      for (int c = 0; c < 3; ++c) {
        int total = 1 << (kBits - 1);
        for (int i = 0; i < count; ++i) total += given.pixels[place(given, first + i, line) + c] * fixed[i];
        made.pixels[place(made, at, line) + c] = std::uint8_t(std::clamp(total >> kBits, 0, 255));
      }
  }
  return made;
}

// Which direction is first matters for the rounding: this is the order of Pillow 13, older ones begin with the rows.
Picture resized(const Picture& given, int width, int height) {
  const bool vertical_first = given.height - height > std::max(0, 2 * (given.width - width));
  const Picture half = resized_along(given, vertical_first ? height : width, vertical_first);
  return resized_along(half, vertical_first ? width : height, !vertical_first);
}

// @LAYOUT@, (pixel / 255 - mean) / std.
std::vector<float> preprocessed(const Picture& picture, const Stage& stage) {
  const Picture small = resized(picture, stage.width, stage.height);
  const std::size_t area = std::size_t(stage.width) * stage.height;
  std::vector<float> x(3 * area);
  for (std::size_t at = 0; at < area; ++at)
    for (std::size_t c = 0; c < 3; ++c)
      x[@INDEX@] = (small.pixels[3 * at + c] / 255.0f - stage.mean[c]) / stage.std[c];
  return x;
}

// ---- the runtime ----

@RUNTIME@
// ---- what the picture shows ----

struct Answer {
  std::string label;
  float probability;
  const char* stage;
};

Answer answer(std::vector<Network>& networks, const Picture& picture) {
  for (std::size_t index = 0;; ++index) {
    std::vector<float> p = networks[index].run(preprocessed(picture, kStages[index]));
    if (!kProbabilities) {
      const float most = *std::max_element(p.begin(), p.end());
      float sum = 0;
      for (float& one : p) sum += one = std::exp(one - most);
      for (float& one : p) one /= sum;
    }
    const auto best = std::max_element(p.begin(), p.end());
    if (*best >= kThreshold || index + 1 == networks.size())
      return {kLabels[best - p.begin()], *best, kStages[index].name};
  }
}

int main(int count, char** arguments) try {
  std::vector<std::string> paths(arguments + 1, arguments + count);
  std::string folder = ".";
  if (paths.size() >= 2 && paths[0] == "--model") {
    folder = paths[1];
    paths.erase(paths.begin(), paths.begin() + 2);
  }
  if (paths.empty()) throw std::invalid_argument("usage: classify [--model FOLDER] PICTURE.ppm...");
  std::vector<Network> networks;
  for (const Stage& stage : kStages) networks.emplace_back(folder + "/" + stage.file, stage);
  for (const std::string& path : paths) {
    const Answer said = answer(networks, read_ppm(path));
    std::printf("%s\t%.9g\t%s\t%s\n", said.label.c_str(), said.probability, said.stage, path.c_str());
  }
} catch (const std::invalid_argument& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
} catch (const std::exception& error) {
  std::fprintf(stderr, "classify: %s\n", error.what());
  return 9;
}
