// Bodies of backend.hpp.
#pragma once
#include "cuda/kept_entries-inl.hpp"
#include "cuda/passes-inl.hpp"
#include "cuda/plan_reads-inl.hpp"
#include "cuda/points-inl.hpp"
#include "cuda/pricing-inl.hpp"
#include "cuda/stored_kernel-inl.hpp"
#include "cuda/vectors-inl.hpp"
