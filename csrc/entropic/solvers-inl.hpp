// Bodies of entropic/solvers.hpp.
#pragma once
#include "entropic/newton.hpp"
#include "entropic/sinkhorn.hpp"
#include "entropic/sns.hpp"
#include "entropic/solvers.hpp"

namespace ot {

template <class B>
EntropicOutcome EntropicSolvers<B>::sinkhorn(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor,
                                             Potentials at) {
  return Sinkhorn<B>(be, p, o, monitor).solve(at);
}

template <class B>
EntropicOutcome EntropicSolvers<B>::newton(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor,
                                           Potentials at) {
  return Newton<B>(be, p, o, monitor).solve(at);
}

template <class B>
EntropicOutcome EntropicSolvers<B>::approach(B& be, const Problem& p, const SinkhornOptions& o, const Monitor& monitor,
                                             Potentials at) {
  return Newton<B>(be, p, o, monitor).approach(at);
}

template <class B>
EntropicOutcome EntropicSolvers<B>::sns(B& be, const Problem& p, const SnsOptions& o, const Monitor& monitor,
                                        Potentials at) {
  return Sns<B>(be, p, o, monitor).solve(at);
}

template <class B>
double EntropicSolvers<B>::resolved_reg(B& be, const Problem& p, Potentials at) {
  return ot::resolved_reg(be, p, at, p.reg);
}

}  // namespace ot
