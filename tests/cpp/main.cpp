// Runs the suite at the level that OT_FAST_ISA names; exits with 77 (skipped) where this processor lacks it.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <stdexcept>

#include "cpu/dispatch.hpp"

int main(int argc, char** argv) {
  try {
    ot::cpu::kernels();
  } catch (const std::invalid_argument& error) {
    std::puts(error.what());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
