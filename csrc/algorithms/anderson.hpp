// Anderson acceleration (type II) of psi <- psi + rho(psi) with a window of K differences.
// The Sinkhorn map is self-adjoint in the b-weighted inner product, which is therefore the metric
// of the least squares: near the solution this is a Krylov method on the Schur complement.
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

  void reset() { count_ = 0, known_ = false; }
  bool empty() const { return !known_; }  // the next step is a plain one

  // next = psi + rho - sum_k gamma_k (dpsi_k + drho_k), gamma = argmin |rho - sum_k gamma_k drho_k|_b.
  void step(const double* psi, const double* rho, double* next) {
    const index m = m_;
    double *last = last_.data(), *plain = plain_.data();
    if (known_) {
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
    known_ = true;
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
  // Cholesky of the regularised Gram matrix, oldest differences dropped where it breaks down.
  void solve(std::array<double, K>& x) {
    double L[K][K];
    const double floor = 1e-14;
    for (int k = 0; k < count_; ++k) {
      for (int l = 0; l <= k; ++l) {
        double v = gram_[k][l] + (k == l ? floor * gram_[k][k] : 0);
        for (int p = 0; p < l; ++p) v -= L[k][p] * L[l][p];
        if (k == l) {
          if (!(v > 1e-13 * gram_[k][k]) || !std::isfinite(v)) {
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
  Buffer<double> last_, plain_;
  std::array<Buffer<double>, K> diff_;
  double gram_[K][K] = {};
  int count_ = 0;
  bool known_ = false;
};

}  // namespace ot
