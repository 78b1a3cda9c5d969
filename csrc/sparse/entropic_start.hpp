// Loosely solved entropic transport: the start of the sparse solvers.
#pragma once
#include <algorithm>
#include <cmath>

#include "core/array.hpp"
#include "entropic/fixed_point.hpp"
#include "entropic/resolution.hpp"
#include "sparse/backend.hpp"
#include "sparse/constants.hpp"

namespace ot {

// The only part of the sparse solvers that runs element-wise kernels: for a device its own compiler
// instantiates it (instantiate.*), and the C++ compiler all the rest. Bodies stand outside the class for that reason.
template <SparseBackend B>
class EntropicStart {
 public:
  EntropicStart(B& be, const Problem& p, const Limits& limits, const Monitor& monitor);
  // Potentials phi and psi at reg, on the host, from those of the last call. The first reg is raised to what float64
  // resolves. Returns the passes that it took.
  index run(double& reg, double* phi, double* psi);

 private:
  void reset();

  B& be_;
  Problem p_;
  const index n_, m_;
  Clock clock_;
  SoftTransform<B> transform_;
  FixedPoint<B> iteration_;
  Buffer<double> phi_, psi_;
  double last_reg_ = 0;
};

template <SparseBackend B>
EntropicStart<B>::EntropicStart(B& be, const Problem& p, const Limits& limits, const Monitor& monitor)
    : be_(be),
      p_(p),
      n_(p.geo.n),
      m_(p.geo.m),
      clock_(limits, monitor),
      transform_(be, p, {}, clock_),
      iteration_(be, p, clock_),
      phi_(be.template buffer<double>(n_)),
      psi_(be.template buffer<double>(m_)) {
  reset();
}

template <SparseBackend B>
void EntropicStart<B>::reset() {
  be_.write(n_, Array<double>(n_, NAN).data(), phi_.data());
  be_.write(m_, Array<double>(m_, 0.0).data(), psi_.data());
}

template <SparseBackend B>
index EntropicStart<B>::run(double& reg, double* phi, double* psi) {
  const index before = clock_.n_iter;
  if (last_reg_ > 0) {
    rescale(be_, m_, last_reg_ / reg, psi_.data());
    rescale(be_, n_, last_reg_ / reg, phi_.data());
  }
  const Potentials at{.rows = phi_.data(), .columns = psi_.data()};
  for (;;) {
    const LogStage stage{
        .reg = reg, .tol = sparse::kEntropicTol, .max_steps = sparse::kEntropicSteps, .precision = Precision::f32};
    const Value v = sinkhorn_stage(transform_, iteration_, at, stage);
    p_.reg = reg;
    if (last_reg_ > 0 || (std::isfinite(v.error) && resolves(be_, p_, at, 1)) || !(reg < kMostScaled)) break;
    reg = std::max(sparse::kStartFall * reg, resolved_reg(be_, p_, at, reg));
    reset();
  }
  last_reg_ = reg;
  be_.read(n_, phi_.data(), phi);
  be_.read(m_, psi_.data(), psi);
  return clock_.n_iter - before;
}

}  // namespace ot
