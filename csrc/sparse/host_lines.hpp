// The lines of sparse plans on the host, for the backends of devices.
#pragma once
#include <memory>

#include "sparse/line_view.hpp"

namespace ot {

namespace cpu {
class Backend;
}

// The line operations of `SparseBackend`, by the CPU backend with its default number of threads (made at the first
// call). Its bodies are in cpu/host_lines.cpp: a program with the CUDA backend therefore links the CPU backend too,
// although no file of cuda/ includes one of cpu/.
class HostLines {
 public:
  HostLines();
  ~HostLines();
  void lines(const LineView& view, double* sums);
  void line_entries(const LineView& view);
  void line_step(const LineSystem& system);

 private:
  cpu::Backend& backend();
  std::unique_ptr<cpu::Backend> backend_;
};

}  // namespace ot
