// What transport in one dimension needs of a backend: independent tasks on the host.
#pragma once
#include "core/types.hpp"

namespace ot {

template <class B>
concept HostTasks = requires(B be, index count, void (*task)(index)) {
  { be.threads() };
  // task(k) for k in [0, count). It must not throw.
  { be.for_tasks(count, task) };
  // Throws Interrupted on Ctrl-C.
  { be.poll() };
};

}  // namespace ot
