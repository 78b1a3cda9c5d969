// Loosely solved entropic transport: the start of the sparse solvers.
#pragma once
#include <vector>

#include "entropic/semidual.hpp"
#include "sparse/backend.hpp"

namespace ot {

// The only part of the sparse solvers that runs element-wise kernels: for a device its own compiler
// instantiates it (instantiate.*), and the C++ compiler all the rest.
template <SparseBackend B>
class EntropicStart : SemiDual<B> {
 public:
  EntropicStart(B& be, const Problem& p, const Limits& limits, const Monitor& monitor);
  // Potentials at reg, on the host, from those of the last call; returns the passes it took.
  index run(double reg, double* phi, double* psi);

 private:
  Buffer<double> rows_, cols_;
  double last_ = 0;
  index passes_ = 0;
};

template <SparseBackend B>
EntropicStart<B>::EntropicStart(B& be, const Problem& p, const Limits& limits, const Monitor& monitor)
    : SemiDual<B>(be, p, limits, monitor),
      rows_(be.template buffer<double>(p.geo.n)),
      cols_(be.template buffer<double>(p.geo.m)) {
  this->phi_ = rows_.data();
  this->psi_ = cols_.data();
  be.write(p.geo.n, std::vector<double>(p.geo.n, NAN).data(), this->phi_);
  be.write(p.geo.m, std::vector<double>(p.geo.m, 0.0).data(), this->psi_);
}

template <SparseBackend B>
index EntropicStart<B>::run(double reg, double* phi, double* psi) {
  if (last_ > 0) this->rescale(last_ / reg);
  this->stage(reg, 1e-1, 10, Precision::f32);
  last_ = reg;
  this->be_.read(this->n_, this->phi_, phi);
  this->be_.read(this->m_, this->psi_, psi);
  const index before = passes_;
  passes_ = this->clock_.n_iter;
  return passes_ - before;
}

}  // namespace ot
