// The stored kernel: how it is built, and the pass over it.
#pragma once
#include "cuda/passes-inl.hpp"

namespace ot::cuda {

template <class Device>
void BackendOn<Device>::build_kernel(const Geometry& geo, double reg, const double* phi, const double* psi,
                                     Precision precision, Kernel& K) {
  K.precision = precision;
  K.n = geo.n;
  K.m = geo.m;
  const double* h = scaled(psi, geo.m);
  with_costs(geo, [&](auto costs) {
    using Term = PlanTerm<decltype(costs(0))>;
    const Term term{.exponent = exponent_of(costs(0), geo, reg, h), .phi = phi};
    const auto fill = [&]<class T>(T*) {
      const index bytes = K.n * K.m * static_cast<index>(sizeof(T));
      if (K.data.size() < bytes) K.data = {}, K.data = buffer<char>(bytes);  // exactly, and never two at once
      T* to = reinterpret_cast<T*>(K.data.data());
      device_.launch(
          team_each(geo.n),
          Fill<Term, T>{.term = term, .first = 0, .last = geo.n, .m = geo.m, .width = geo.m, .ld = geo.m, .out = to});
    };
    if (precision == Precision::f32) fill(static_cast<float*>(nullptr));
    else fill(static_cast<double*>(nullptr));
  });
  device_.poll();
}

template <class Device>
void BackendOn<Device>::kernel_pass(const Kernel& K, const KernelPass& p) {
  const Tiling t = tiling(K.n, K.m, /*deep=*/false, K.m);
  const auto run = [&]<class TK, class TE>() {
    using Source = StoredSource<TK, TE>;
    Source all{.kernel = {reinterpret_cast<const TK*>(K.data.data()), K.m},
               .q = p.q,
               .target = p.target,
               .a = p.a,
               .u = p.u,
               .row = p.row};
    if (t.width() < K.m && (p.target || p.row)) {  // one more read of K
      double* s = grown(scratch_.row, K.n);
      fold_rows<Plus>(StoredTerm<TK>{all.kernel, p.q}, K.n, K.m, s);
      for_each(K.n, ScaleRows{.s = s, .target = p.target, .a = p.a, .u = p.u, .row = p.row, .least = kLeastSum<TE>});
      all.target = nullptr;
      all.row = nullptr;
    }
    const auto at = [&](index j0) {
      Source source = all;
      source.kernel.C += j0;
      source.q += j0;
      return source;
    };
    sweep<Source>(t, K.n, K.m, at, nullptr, p.col);
  };
  if (K.precision == Precision::f64) run.template operator()<double, double>();
  else if (p.precision == Precision::f64) run.template operator()<float, double>();
  else run.template operator()<float, float>();
}

}  // namespace ot::cuda
