// Anderson acceleration (type II; Walker and Ni 2011) of psi <- psi + rho(psi) with a window of K differences.
// The derivative of the Sinkhorn map is self-adjoint in the b-weighted inner product, which is therefore the metric of
// the least squares: near the solution this is a Krylov method on the Schur complement.
// A step reads about 3 K m values.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "core/backend.hpp"
#include "core/buffer.hpp"

namespace ot {

template <class B>
class Anderson {
 public:
  static constexpr int K = 24;

  Anderson(B& be, index m, const double* b)
      : be_(be), m_(m), b_(b), last_(be.template buffer<double>(2 * m)), plain_(be.template buffer<double>(m)) {
    for (auto& d : diff_) d = be.template buffer<double>(2 * m);
  }

  void reset() { count_ = 0, has_last_ = false; }
  bool empty() const { return !has_last_; }  // the next step is the plain one, psi + rho

  // next = psi + rho - sum_k gamma_k (dpsi_k + drho_k), gamma = argmin |rho - sum_k gamma_k drho_k|_b.
  void step(const double* psi, const double* rho, double* next) {
    const index m = m_;
    double *last = last_.data(), *plain = plain_.data();
    if (has_last_) {
      if (count_ < K) ++count_;
      std::rotate(diff_.begin(), diff_.end() - 1, diff_.end());
      double* d = diff_[0].data();
      be_.for_each(m, [=] OT_HD(index j) {
        const double dr = rho[j] - last[m + j];
        d[j] = psi[j] - last[j] + dr;
        d[m + j] = dr;
      });
      for (int k = K - 1; k > 0; --k)
        for (int l = K - 1; l > 0; --l) gram_[k][l] = gram_[k - 1][l - 1];
    }
    be_.for_each(m, [=] OT_HD(index j) {
      last[j] = psi[j];
      last[m + j] = rho[j];
      plain[j] = psi[j] + rho[j];
    });
    has_last_ = true;
    std::array<double, K> gamma{};
    std::array<const double*, K> moves{}, residuals{};
    for (std::size_t k = 0; k < K; ++k) {
      moves[k] = diff_[k].data();
      residuals[k] = moves[k] + m;
    }
    if (count_ > 0) {
      be_.dots(m, b_, residuals[0], residuals, count_, &gram_[0][0]);
      for (int k = 1; k < count_; ++k) gram_[k][0] = gram_[0][k];
      be_.dots(m, b_, rho, residuals, count_, gamma.data());
      solve(gamma);
    }
    be_.combine(m, plain, gamma.data(), moves, count_, next);
  }

 private:
  static constexpr double kRegularisation = 1e-14, kLeastPivot = 1e-13;  // of the diagonal of the Gram matrix

  // x = gram^-1 x by a Cholesky factor of the regularised Gram matrix. The oldest differences are dropped from the
  // first pivot on that rounding has made worthless.
  void solve(std::array<double, K>& x) {
    double L[K][K];
    for (int k = 0; k < count_; ++k) {
      for (int l = 0; l <= k; ++l) {
        double v = gram_[k][l] + (k == l ? kRegularisation * gram_[k][k] : 0);
        for (int p = 0; p < l; ++p) v -= L[k][p] * L[l][p];
        if (k == l) {
          if (!(v > kLeastPivot * gram_[k][k]) || !std::isfinite(v)) {
            count_ = k;
            break;
          }
          L[k][k] = std::sqrt(v);
        } else {
          L[k][l] = v / L[l][l];
        }
      }
    }
    for (int k = 0; k < count_; ++k) {
      for (int p = 0; p < k; ++p) x[k] -= L[k][p] * x[p];
      x[k] /= L[k][k];
    }
    for (int k = count_ - 1; k >= 0; --k) {
      for (int p = k + 1; p < count_; ++p) x[k] -= L[p][k] * x[p];
      x[k] /= L[k][k];
    }
  }

  B& be_;
  index m_;
  const double* b_;
  Buffer<double> last_;                 // (2m) psi, rho of the last step
  Buffer<double> plain_;                // (m) psi + rho
  std::array<Buffer<double>, K> diff_;  // (2m) dpsi + drho, drho; the latest first
  double gram_[K][K] = {};
  int count_ = 0;
  bool has_last_ = false;
};

}  // namespace ot
