// Kept entries: passes that keep them, products, the largest, and the factor.
#pragma once
#include "cuda/passes-inl.hpp"

namespace ot::cuda {

inline constexpr index kFirstKept = 16;  // entries a row for which there is room at first

// Redone with more room where a team found more entries than its region holds, up to the limit.
template <class Device>
void BackendOn<Device>::pass(const Geometry& geo, const Pass& p, Kept& kept) {
  const Tiling t = tiling(geo);
  kept.version = ++kept_.version;
  const index most = 2 * kept.limit * t.rows;  // a team may hold twice the average
  KeptOut out;
  out.threshold = kept.threshold;
  out.begin = grown(kept_.begin, geo.n);
  out.end = grown(kept_.end, geo.n);
  out.used = device_.template staging<index>(t.teams);
  kept_.capacity = std::max(kept_.capacity, std::min(kFirstKept, kept.limit) * t.rows);
  Pass again = p;
  for (;;) {
    out.capacity = kept_.capacity;
    out.idx = grown(kept_.idx, t.teams * out.capacity);
    out.val = grown(kept_.val, t.teams * out.capacity);
    run_pass(geo, again, &out);
    device_.wait();
    again.row = nullptr;  // sums before the update: known from the first time
    const index need = *std::max_element(out.used, out.used + t.teams);
    kept.nnz = 0;
    for (index c = 0; c < t.teams; ++c) kept.nnz += out.used[c];
    kept.overflow = need > most || kept.nnz > kept.limit * geo.n;
    if (need <= kept_.capacity || kept.overflow) break;
    kept_.capacity = std::min(most, need + need / 4);
  }
  kept.idx = out.idx;
  kept.val = out.val;
  kept.begin = out.begin;
  kept.end = out.end;
  kept_.n = geo.n;
  kept_.m = geo.m;
}

template <class Device>
void BackendOn<Device>::kept_product(const index* begin, const index* end, const std::int32_t* idx, const double* val,
                                     const double* x, index n, bool squared, double* out) {
  device_.launch(
      warp_each(n),
      KeptProduct{.begin = begin, .end = end, .idx = idx, .val = val, .x = x, .n = n, .squared = squared, .out = out});
}
template <class Device>
void BackendOn<Device>::kept_apply(const Kept& T, index n, const double* x, double* out) {
  check(T);
  kept_product(T.begin, T.end, T.idx, T.val, x, n, false, out);
}
template <class Device>
void BackendOn<Device>::kept_apply_transposed(const Kept& T, index n, index m, const double* y, double* out) {
  transpose(T, n, m);
  kept_product(transposed_.begin.data(), transposed_.begin.data() + 1, transposed_.row.data(), transposed_.val.data(),
               y, m, false, out);
}
template <class Device>
void BackendOn<Device>::kept_diagonal(const Kept& T, index n, index m, const double* w, double* out) {
  transpose(T, n, m);
  kept_product(transposed_.begin.data(), transposed_.begin.data() + 1, transposed_.row.data(), transposed_.val.data(),
               w, m, true, out);
}

template <class Device>
void BackendOn<Device>::gather(const Kept& T, index n, index* offset) {
  check(T);
  index* length = grown(list_.length, n);
  for_each(n, RowLength{T.begin, T.end, length});
  device_.scan(n, length, offset);
  std::uint32_t* keys = grown(list_.keys, T.nnz);
  Placed* entries = grown(list_.entries, T.nnz);
  device_.launch(warp_each(n), Gather{.begin = T.begin,
                                      .end = T.end,
                                      .offset = offset,
                                      .idx = T.idx,
                                      .val = T.val,
                                      .n = n,
                                      .column = keys,
                                      .entry = entries});
}
template <class Device>
void BackendOn<Device>::collect(const Kept& T, index n, index* offset, std::int32_t* column, double* val) {
  gather(T, n, offset);
  for_each(T.nnz, Split{list_.keys.data(), list_.entries.data(), column, val});
}

// A stable sort by column, once for each version: sums over a column are in the order of rows.
// Memory traffic: 12 bytes an entry read and written by the gather, 16 for each of up to 4 digits of the sort.
template <class Device>
void BackendOn<Device>::transpose(const Kept& T, index n, index m) {
  check(T);
  if (T.version != 0 && T.version == transposed_.version) return;
  transposed_.version = 0;  // until it is complete
  gather(T, n, grown(list_.offset, n));
  std::uint32_t* keys = list_.keys.data();
  Placed* entries = list_.entries.data();
  device_.sort(T.nnz, keys, entries, m);
  device_.launch(thread_each(T.nnz + 1), Columns{.column = keys,
                                                 .entry = entries,
                                                 .count = T.nnz,
                                                 .m = m,
                                                 .begin = grown(transposed_.begin, m + 1),
                                                 .row = grown(transposed_.row, T.nnz),
                                                 .val = grown(transposed_.val, T.nnz)});
  transposed_.version = T.version;
}

// The transposed copy goes to the host, which factors [[diag columns, -T'], [-T, diag rows]]: columns come first.
template <class Device>
bool BackendOn<Device>::kept_factor(const Kept& T, index n, index m, const double* rows, const double* columns) {
  transpose(T, n, m);
  host_.begin.reserve(m + 1);
  host_.row.reserve(T.nnz);
  host_.val.reserve(T.nnz);
  host_.diagonal.reserve(m + n);
  const auto fetch = [&]<class V>(V* to, const V* from, index count) {
    if (count > 0) device_.download(to, from, count * static_cast<index>(sizeof(V)));
    device_.poll();
  };
  fetch(host_.begin.data(), transposed_.begin.data(), m + 1);
  fetch(host_.row.data(), transposed_.row.data(), T.nnz);
  fetch(host_.val.data(), transposed_.val.data(), T.nnz);
  fetch(host_.diagonal.data(), columns, m);
  fetch(host_.diagonal.data() + m, rows, n);
  Kept transposed;
  transposed.nnz = T.nnz;
  transposed.idx = host_.row.data();
  transposed.val = host_.val.data();
  transposed.begin = host_.begin.data();
  transposed.end = host_.begin.data() + 1;
  return host_.factor.factor(transposed, m, n, host_.diagonal.data(), host_.diagonal.data() + m,
                             [this] { device_.poll(); });
}
// Through pinned memory: two copies at the speed of the bus, and one wait.
template <class Device>
void BackendOn<Device>::kept_solve(index n, index m, const double* y, double* out) {
  double* x = device_.template staging<double>(m + n);
  read(m, y, x);
  std::fill_n(x + m, n, 0.0);
  host_.factor.solve(x);
  write(m, x, out);
  device_.poll();
}

template <class Device>
double BackendOn<Device>::kept_largest(const Kept& T, index count) {
  check(T);
  if (count >= T.nnz) return T.threshold;
  transpose(T, kept_.n, kept_.m);
  device_.sort_descending(T.nnz, transposed_.val.data());
  double cut = 0;
  device_.download(&cut, transposed_.val.data() + std::max<index>(count, 1) - 1, sizeof cut);
  for_each(kept_.n, Cut{T.begin, T.end, kept_.val.data(), cut});
  transposed_.version = 0;
  return cut;
}

}  // namespace ot::cuda
