// The kernels of one instruction-set level and their table. Compiled once a level, with OT_LEVEL = baseline, v3, v4.
#include "cpu/kernels.hpp"

#include "cpu/kernels/c_transform-inl.hpp"
#include "cpu/kernels/candidates-inl.hpp"
#include "cpu/kernels/kept_products-inl.hpp"
#include "cpu/kernels/lines-inl.hpp"
#include "cpu/kernels/machine_limits-inl.hpp"
#include "cpu/kernels/nearest-inl.hpp"
#include "cpu/kernels/pass-inl.hpp"
#include "cpu/kernels/plan_reads-inl.hpp"
#include "cpu/kernels/row_scans-inl.hpp"
#include "cpu/kernels/stored_kernel-inl.hpp"
#include "cpu/kernels/vectors-inl.hpp"

namespace ot::cpu {

namespace level = OT_LEVEL_NAMESPACE;
extern const Kernels OT_CONCAT(kernels_, OT_LEVEL);

// Constant initialisation: no code of this level runs before dispatch.cpp has chosen it.
constinit const Kernels OT_CONCAT(kernels_, OT_LEVEL) = {
    .name = OT_STRING(OT_LEVEL),
    .pass = {{level::pass<float, float>, level::pass<float, double>},
             {level::pass<double, float>, level::pass<double, double>}},
    .apply_plan = {level::apply_plan<float>, level::apply_plan<double>},
    .plan_rows = {{level::plan_rows<float, float>, level::plan_rows<float, double>},
                  {level::plan_rows<double, float>, level::plan_rows<double, double>}},
    .kernel_pass = {{level::kernel_pass<float, float>, level::kernel_pass<float, double>},
                    {nullptr, level::kernel_pass<double, double>}},
    .c_transform = {level::c_transform<float>, level::c_transform<double>},
    .cost_apply = {level::cost_apply<float>, level::cost_apply<double>},
    .cost_rows = {level::cost_rows<float>, level::cost_rows<double>},
    .stats = {level::stats<float>, level::stats<double>},
    .candidates = {level::candidates<float>, level::candidates<double>},
    .row_minima = {level::row_minima<float>, level::row_minima<double>},
    .relax_row = {level::relax_row<float>, level::relax_row<double>},
    .column_minima = {level::column_minima<float>, level::column_minima<double>},
    .nearest_in_rows = {level::nearest_in_rows<float>, level::nearest_in_rows<double>},
    .nearest_in_columns = {level::nearest_in_columns<float>, level::nearest_in_columns<double>},
    .pair_costs = {level::pair_costs<float>, level::pair_costs<double>},
    .kept_product = {level::kept_product<false>, level::kept_product<true>},
    .lines = level::lines,
    .line_entries = level::line_entries,
    .line_step = level::line_step,
    .exp = level::exp_array,
    .log = level::log_array,
    .dots = level::dots,
    .combine = level::combine,
    .add_rows = level::add_rows,
    .exp_rate = {level::exp_rate<float>, level::exp_rate<double>},
    .fma_rate = {level::fma_rate<float>, level::fma_rate<double>},
    .read = level::read,
};

}  // namespace ot::cpu
