// Pairs of small reduced cost: what a sparse plan may use.
#pragma once
#include "cpu/kernels/compress-inl.hpp"
#include "cpu/kernels/costs-inl.hpp"

namespace ot::cpu::OT_LEVEL_NAMESPACE {

// f(i, c) for every row i with all of its costs c. Those of points are copied to row buffers in the work space.
template <class TC, class F>
inline void for_rows(const Geometry& g, void* work, index i0, index i1, F f) {
  const index stride = row_stride(g.m), height = block_rows(g);
  const Tiles<TC> tiles(g, i1, static_cast<char*>(work) + height * stride * 8);
  TC* rows = static_cast<TC*>(work);
  for (index i = i0; i < i1; i += height) {
    const index count = i1 - i < height ? i1 - i : height;
    if (tiles.compute)
      tiles.each(i, count, [&](index r, index j, index len, const TC* c) {
        __builtin_memcpy(rows + r * stride + j, c, len * sizeof(TC));
      });
    for (index r = 0; r < count; ++r) f(i + r, tiles.compute ? rows + r * stride : tiles.row(i + r));
  }
}

// Appends the pairs with f_i + g_j - (C_ij - shift) > -margin, and their costs C_ij - shift, to the region of the
// chunk; beyond its capacity they are only counted.
// Memory traffic: one read of C, 12 bytes written a candidate. Where candidates are rare, groups of 32 columns are
// tested by their largest g_j - C_ij first. Where a quarter of the groups of a row had some, the next row is taken
// without that test.
template <class TC>
void candidates(const CandidateArgs& A, index i0, index i1) {
  constexpr index G = 32, W = lanes<double>;
  const index m = A.geo.m, whole = m - m % W;
  const double shift = A.geo.shift;
  const KeptRegion& k = *A.kept;
  const double* __restrict g = A.g;
  bool many = false;
  for_rows<TC>(A.geo, A.work, i0, i1, [&](index i, const TC* __restrict c) {
    index at = i == k.first ? 0 : k.end[i - 1] - k.base;
    k.begin[i] = k.base + at;
    const double bound = -A.margin - A.f[i];
    const auto pack = [&](index first, index last) {
      for (index j = first; j < last; j += W) {
        const Vec<double> cost = load_f64(c + j) - shift;
        at += pack_where(load(g + j) - cost, bound, cost, j, k.idx + at, k.val + at);
      }
    };
    const auto append = [&](index first, index last) {
      for (index j = first; j < last; ++j) {
        const double cost = static_cast<double>(c[j]) - shift;
        if (g[j] - cost > bound) {
          if (at < k.capacity) {
            k.idx[at] = static_cast<std::int32_t>(j);
            k.val[at] = cost;
          }
          ++at;
        }
      }
    };
    index groups = 0;  // with candidates
    if (many && (at + m <= k.capacity || at >= k.capacity)) {
      const index before = at;
      if (at + m <= k.capacity) pack(0, whole);
      else
        for (index j = 0; j < whole; j += W) at += count_above(load(g + j) - (load_f64(c + j) - shift), bound);
      append(whole, m);
      groups = at - before;
    } else {
      for (index j0 = 0; j0 < m && bound < __builtin_inf(); j0 += G) {
        const index j1 = m - j0 < G ? m : j0 + G;
        double best = -__builtin_inf();
#pragma omp simd reduction(OT_MAX : best)
        for (index j = j0; j < j1; ++j) {
          const double s = g[j] - (static_cast<double>(c[j]) - shift);
          best = s > best ? s : best;
        }
        if (!(best > bound)) continue;
        ++groups;
        if (j1 - j0 == G && at + G <= k.capacity) pack(j0, j1);
        else append(j0, j1);
      }
    }
    many = 4 * G * groups > m;
    k.end[i] = k.base + at;
  });
}

}  // namespace ot::cpu::OT_LEVEL_NAMESPACE
