// Runs the cases of test_seam.cpp on the GPU; exits with 77 (skipped) where there is none.
#define DOCTEST_CONFIG_IMPLEMENT
#define OT_TEST_GPU
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "test_seam.cpp"

int main(int argc, char** argv) {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);  // before the driver starts
  std::string reason;
  if (ot::cuda::device_count(reason) == 0) {
    std::puts(reason.c_str());
    return 77;
  }
  return doctest::Context(argc, argv).run();
}
