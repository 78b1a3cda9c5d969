#include "sparse/host_lines.hpp"

#include "cpu/backend.hpp"

namespace ot {

HostLines::HostLines() = default;
HostLines::~HostLines() = default;

void HostLines::lines(const LineView& view, double* sums) { backend().lines(view, sums); }
void HostLines::line_entries(const LineView& view) { backend().line_entries(view); }
void HostLines::line_step(const LineSystem& system) { backend().line_step(system); }

cpu::Backend& HostLines::backend() {
  if (!backend_) backend_ = std::make_unique<cpu::Backend>(0);
  return *backend_;
}

}  // namespace ot
