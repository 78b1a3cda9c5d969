// How a kernel is written: as the work of a team of threads, in phases. A body runs on the device, where a team is a
// block or a cluster of blocks, and on the host, where the tests run the threads of each phase one after another.
//
//   team.id, team.count            this team, and how many there are
//   team.lane(t)                   place of thread t: its block in the team, and its number there
//   team.each(f)                   f(t) for every thread; threads exchange values only by what follows
//   Team::Local<T> x(team)         one T for every thread: x[t]
//   Team::Shared<T, K> y(team)     K values for every thread, in shared memory: y(t, k)
//   y.fetch(t, k, from)            starts a copy to y(t, k); y.ready() waits for all copies
//   team.sum(x), team.max(x)       over all threads, in a fixed order; every thread gets the result
//   team.warp_sum(x)               the same over each warp of 32; x[t] becomes its warp's sum
//   team.compact(bits, at)         at[t][k] = place of bit k of thread t among the bits set, in the
//                                  order (block, warp, k, lane); returns how many are set
//   team.leader                    true on one thread of the team, which writes what all know
#pragma once
#include "core/types.hpp"

namespace ot::cuda {

// A few values in registers: loops over them are unrolled.
template <class T, int N>
struct Reg {
  T v[N];
  OT_HD T& operator[](int k) { return v[k]; }
  OT_HD const T& operator[](int k) const { return v[k]; }
};

struct Lane {
  int block;   // of the team
  int thread;  // of the block
};

// Launch of `teams` teams of `blocks` blocks of `threads` threads.
struct Shape {
  index teams = 1;
  int blocks = 1;
  int threads = 256;
};

inline constexpr int kWarp = 32;
inline constexpr int kMaxThreads = 512;  // of a block
inline constexpr int kMaxBlocks = 8;     // of a team: clusters of more are not portable

#if defined(__CUDACC__)
#define OT_UNROLL _Pragma("unroll")
#else
#define OT_UNROLL
#endif

}  // namespace ot::cuda
