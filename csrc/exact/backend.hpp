// What exact transport asks of a backend: entropic passes for its start, and the pairs of least reduced cost.
#pragma once
#include "core/backend.hpp"

namespace ot {

template <class B>
concept ExactBackend = Backend<B> && Pricing<B> && NearestLines<B>;

}  // namespace ot
