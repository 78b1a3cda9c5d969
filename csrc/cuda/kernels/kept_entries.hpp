// Entries kept by passes: where they are stored, products with them, their transposition.
#pragma once
#include "cuda/team.hpp"

namespace ot::cuda {

// Where a sweep keeps entries: a region of `capacity` entries a team, the entries of row i in [begin_i, end_i).
struct KeptOut {
  double threshold = 0;
  std::int32_t* idx = nullptr;  // null: nothing is kept
  double* val = nullptr;
  index *begin = nullptr, *end = nullptr;  // (n)
  index base = 0;                          // of the first region
  index capacity = 0;                      // of each region
  index* used = nullptr;                   // (teams) entries found by each, also those beyond its capacity
};

// out_i = sum of val x[idx] over the entries of row i; val^2 where `squared`. A warp a row.
// Memory traffic: 12 bytes read and one gather from x an entry.
struct KeptProduct {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const index *begin, *end;
  const std::int32_t* idx;
  const double *val, *x;
  index n;
  bool squared;
  double* out;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    typename Team::template Local<double> part(team);
    const index per_team = team.threads / kWarp;
    team.each([&](int t) {
      const int thread = team.lane(t).thread;
      const index i = team.id * per_team + thread / kWarp;
      double s = 0;
      if (i < n)
        for (index k = begin[i] + thread % kWarp; k < end[i]; k += kWarp)
          s += val[k] * (squared ? val[k] : 1.0) * x[idx[k]];
      part[t] = s;
    });
    team.warp_sum(part);
    team.each([&](int t) {
      const int thread = team.lane(t).thread;
      const index i = team.id * per_team + thread / kWarp;
      if (i < n && thread % kWarp == 0) out[i] = part[t];
    });
  }
};

// An entry and its row: what is sorted by column.
struct Placed {
  double val;
  std::int32_t row;
};

// Copies the rows out of their regions, row i to offset_i. A warp a row.
// Memory traffic: 12 bytes read, 20 written an entry.
struct Gather {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const index *begin, *end, *offset;
  const std::int32_t* idx;
  const double* val;
  index n;
  std::uint32_t* column;
  Placed* entry;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    const index per_team = team.threads / kWarp;
    team.each([&](int t) {
      const int thread = team.lane(t).thread;
      const index i = team.id * per_team + thread / kWarp;
      if (i >= n) return;
      for (index k = begin[i] + thread % kWarp; k < end[i]; k += kWarp) {
        const index to = offset[i] + k - begin[i];
        column[to] = static_cast<std::uint32_t>(idx[k]);
        entry[to] = Placed{val[k], static_cast<std::int32_t>(i)};
      }
    });
  }
};

// Columns and values of a gathered list.
struct Split {
  const std::uint32_t* key;
  const Placed* entry;
  std::int32_t* column;
  double* val;
  OT_HD void operator()(index k) const {
    column[k] = static_cast<std::int32_t>(key[k]);
    val[k] = entry[k].val;
  }
};

// Takes a sorted list apart into rows and values, and finds where each column begins.
struct Columns {
  static constexpr int kThreads = kMaxThreads, kBlocks = 1;
  const std::uint32_t* column;
  const Placed* entry;
  index count, m;
  index* begin;  // (m + 1)
  std::int32_t* row;
  double* val;

  template <class Team>
  OT_HD void operator()(Team& team) const {
    team.each([&](int t) {
      for (index k = team.id * team.threads + team.lane(t).thread; k <= count; k += team.count * team.threads) {
        const index here = k < count ? static_cast<index>(column[k]) : m;
        for (index j = k > 0 ? static_cast<index>(column[k - 1]) + 1 : 0; j <= here; ++j) begin[j] = k;
        if (k == count) continue;
        row[k] = entry[k].row;
        val[k] = entry[k].val;
      }
    });
  }
};

struct RowLength {
  const index *begin, *end;
  index* out;
  OT_HD void operator()(index i) const { out[i] = end[i] - begin[i]; }
};
// Values below the cut become 0; a thread a row.
struct Cut {
  const index *begin, *end;
  double* val;
  double cut;
  OT_HD void operator()(index i) const {
    for (index k = begin[i]; k < end[i]; ++k)
      if (val[k] < cut) val[k] = 0;
  }
};

}  // namespace ot::cuda
