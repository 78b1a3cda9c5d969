// Points as the kernels read them, and the limits of the device.
#pragma once
#include <algorithm>

#include "cuda/kernels/machine_limits.hpp"
#include "cuda/kernels/points.hpp"
#include "cuda/vectors-inl.hpp"

namespace ot::cuda {

template <class Device>
PackedPoints BackendOn<Device>::pack(Geometry& geo, const void* x, const void* y) {
  const index size = geo.dtype == DType::f64 ? 8 : 4;
  const bool expand = expands_squares(geo);
  PackedPoints p{buffer<char>(geo.n * geo.d * size), buffer<char>(geo.m * geo.d * size), {}, {}};
  auto centre = buffer<double>(expand ? geo.d : 0);
  if (expand) {
    p.xx = buffer<char>(geo.n * size);
    p.yy = buffer<char>(geo.m * size);
  }
  const auto run = [&]<class T>(T*) {
    const T *xs = static_cast<const T*>(x), *ys = static_cast<const T*>(y);
    if (expand)
      device_.launch(team_each(geo.d),
                     Centre<T>{.x = xs, .y = ys, .n = geo.n, .m = geo.m, .d = geo.d, .centre = centre.data()});
    for_each(geo.n + geo.m, PackPoints<T>{.x = xs,
                                          .y = ys,
                                          .n = geo.n,
                                          .m = geo.m,
                                          .d = geo.d,
                                          .centre = centre.data(),
                                          .normalise = geo.cost == Cost::cosine,
                                          .to_x = reinterpret_cast<T*>(p.x.data()),
                                          .to_y = reinterpret_cast<T*>(p.y.data()),
                                          .xx = reinterpret_cast<T*>(p.xx.data()),
                                          .yy = reinterpret_cast<T*>(p.yy.data())});
  };
  if (size == 8) run(static_cast<double*>(nullptr));
  else run(static_cast<float*>(nullptr));
  device_.wait();
  geo.x = p.x.data();
  geo.yt = p.y.data();
  geo.xx = p.xx.data();
  geo.yy = p.yy.data();
  return p;
}

// ---------------------------------------------------------------- limits of the device

template <class Device>
double BackendOn<Device>::exp_rate(bool f64) {
  const Shape shape{4 * static_cast<index>(device_.processors()), 1, device_.threads()};
  constexpr int repeat = 200;
  auto sink = buffer<double>(1);
  double best = 0;
  for (int k = 0; k < 7; ++k) {
    const double s = device_.seconds([&] {
      if (f64) device_.launch(shape, ExpRate<double>{repeat, sink.data()});
      else device_.launch(shape, ExpRate<float>{repeat, sink.data()});
    });
    best = std::max(best, 1.0 * ExpRate<double>::kExponentials * repeat *
                              static_cast<double>(shape.teams * shape.threads) / s * 1e-9);
  }
  return best;
}

template <class Device>
double BackendOn<Device>::copy_rate() {
  const index size = index{1} << 27;  // 1 GB: no cache holds it
  auto from = buffer<double>(size), to = buffer<double>(size);
  for_each(size, Scale{from.data(), 0.0, from.data()});
  double best = 0;
  for (int k = 0; k < 7; ++k) {
    const double kernel = device_.seconds([&] { for_each(size, Scale{from.data(), 1.0, to.data()}); });
    const double driver = device_.seconds([&] { device_.upload(to.data(), from.data(), 8 * size); });
    best = std::max(best, 16.0 * static_cast<double>(size) / std::min(kernel, driver) * 1e-9);
  }
  return best;
}

}  // namespace ot::cuda
