// Quadratically regularised transport: min <C,T> + reg/2 |T|^2 over plans from a to b, by Newton's
// method on candidate entries. A pass over C keeps the entries of slack f_i + g_j - C_ij > -margin; no
// other can enter the plan before max df + max dg exceeds the margin, and until then the dual on the
// candidates is the dual (lines.hpp says what takes the place of zero where lines are bounded). reg comes
// down from where the plan is dense.
#pragma once
#include "algorithms/network_simplex.hpp"
#include "sparse/entropic_start.hpp"
#include "sparse/line_dual.hpp"
#include "sparse/options.hpp"

namespace ot {

template <SparseBackend B>
class Quadratic {
 public:
  Quadratic(B& be, const Problem& p, const QuadraticOptions& o, const Monitor& monitor)
      : be_(be),
        p_(p),
        limits_(o.limits),
        monitor_(monitor),
        by_rows_(o.lines == Lines::rows),
        warm_(o.warm),
        n_(p.geo.n),
        m_(p.geo.m),
        clock_(limits_, monitor_),
        a_(n_),
        b_(m_),
        f_(n_),
        g_(m_),
        low_row_(n_),
        low_col_(m_),
        spare_row_(n_),
        spare_col_(m_) {
    be.read(n_, p.a, a_.data());
    be.read(m_, p.b, b_.data());
    dual_.shape(by_rows_ ? n_ : m_, by_rows_ ? m_ : n_);
    dual_.a = by_rows_ ? b_.data() : a_.data();
    dual_.b = by_rows_ ? a_.data() : b_.data();
    dual_.reg = p.reg;
    dual_.backend = &be_;
  }

  SparseSolution solve(Potentials at) {
    descend(at.rows, at.columns, warm_, limits_.tol);
    persist();
    SparseSolution out;
    out.error = dual_.error;
    finish(at.rows, at.columns, out);
    out.dual = value(false);
    take(dual_, out.plan);
    return out;
  }

 protected:
  // Where Newton's method has not reached tol.
  void persist() {
    if (dual_.error > limits_.tol && !clock_.exhausted()) {  // a plan that hardly moves with reg: nearly linear
      narrow();
      proximal([this, failed = 0](double moved) mutable {
        if (dual_.error > kLoose) return ++failed < 4 ? 1.0 : 0.0;  // not there yet
        return moved < 1e-6 && dual_.error <= limits_.tol ? 0.0 : kFall;
      });
      dual_.sigma = 0;
      dual_.centre.clear();
      dual_.damping = LineDual<B>::kDamping;
      climb(limits_.tol, 500);
    }
    measure(dual_);  // of both marginals: at such a reg, rounding of the potentials is error of lines too
    const bool linear = p_.reg <= kLinear * p_.range;
    if (dual_.error > limits_.tol && !clock_.exhausted() && n_ * m_ <= (linear ? kAll : kAll / 8)) {
      vertex();
      if (!linear) {  // its potentials are a start
        narrow();
        climb(limits_.tol, 500);
        measure(dual_);
      }
    }
  }

  // Where Newton's method stalls, or rounding of the potentials over reg exceeds tol: a vertex of the
  // polytope that minimises <C,T>, by the network simplex on all entries. It has the marginals, and at
  // most reg/2 more than the least value.
  void vertex() {
    margin_ = INFINITY;
    look();
    dual_.evaluate();
    Flow flow(dual_.others, dual_.lines, dual_.a, dual_.b);
    flow.arcs.resize(dual_.idx.size());
    for (index j = 0; j < dual_.lines; ++j)
      for (index e = dual_.begin[j]; e < dual_.begin[j + 1]; ++e)
        flow.arcs[e] = {dual_.idx[e], static_cast<std::int32_t>(j), dual_.cost[e]};
    flow.start(dual_.t);
    flow.solve([this] { return stopped(); });
    if (flow.lack > 1e-12 || clock_.exhausted()) return dual_.evaluate();
    flow.potentials(dual_.alpha.data(), dual_.beta.data());
    dual_.t = flow.x;
    measure(dual_);
  }

  // Returns the dual.
  double descend(const double* f, const double* g, bool warm, double tol) {
    double reg = p_.reg, reached = 0;
    if (!warm || !resume(f, g)) reg = start();
    for (;; reg = std::max(reg / kFactor, p_.reg)) {
      const bool last = reg <= p_.reg;
      dual_.reg = reg;
      climb(last ? tol : kLoose, last ? 200 : 50);
      reached = value(false);
      clock_.count(reg, dual_.error, reached);
      if (last || clock_.exhausted()) break;
      look_closer();
    }
    if (dual_.reg > p_.reg) {  // out of passes: the plan must still be one of this problem
      dual_.reg = p_.reg;
      dual_.evaluate();
      reached = value(false);
    }
    return reached;
  }

  // Candidates within a few times the mean slack of the plan.
  void narrow() {
    look_closer();
    dual_.evaluate();
  }
  void look_closer() {
    index active = 0;
    for (const double v : dual_.t) active += v > 0;
    const double mean = dual_.reg / static_cast<double>(std::max<index>(1, active));
    margin_ = active > 16 * (n_ + m_) ? mean : 4 * mean;
    look();
  }

  // Steps get smaller: candidates that the next few cannot reach are left out.
  void thin() {
    const double margin = kAhead * dual_.moved();
    if (margin > margin_ - dual_.risen()) return;
    const index all = dual_.idx.size(), some = dual_.within(margin);
    if (some > 3 * all / 4 || some < std::max(kLeast, kFew * (n_ + m_))) return;
    put();
    dual_.keep_within(margin);
    margin_ = margin;
  }

  // Newton on the candidates, taken anew whenever the potentials leave their reach.
  void climb(double tol, index most) {
    const typename LineDual<B>::Stop stop = [this] { return stopped(); };
    double left = INFINITY, beyond = LineDual<B>::kBeyond;
    index before = 0;  // candidates of the last round
    bool wider = false, cheap = false;
    for (int round = 0; round < kRounds; ++round) {
      const bool within = dual_.maximise(tol, margin_, 4 * margin_, most, stop, beyond);
      if (within || clock_.exhausted() || round + 1 == kRounds) break;
      if (dual_.first_error > 2 * left) beyond = 1;  // what the candidates did not say was much
      left = dual_.error;
      // A wide margin saves looks, and costs little where candidates are few, or most of them tied anyway.
      const index now = dual_.idx.size(), some = n_ + m_;
      if (wider) cheap = static_cast<double>(now) < 1.2 * static_cast<double>(before);
      wider = cheap || now < 8 * some || (now < std::min(64 * some, n_ * m_ / 16) && round % 2 == 1) ||
              (now < 256 * some && round > 4 && round % 4 == 3);
      before = now;
      if (wider) margin_ = std::min(2 * margin_, std::max(margin_, 4 * p_.range));
      look();
    }
    for (int round = 0; round < 8 && dual_.risen() > margin_; ++round) {  // stopped early: what is there bounds nothing
      look();
      dual_.evaluate();
    }
  }

  // Proximal steps with falling sigma, each from the plan of the last. `each` is told how far the plan moved
  // (L1) and returns the factor of sigma, 0 to stop. Every plan has the marginals, whatever sigma is.
  template <class F>
  void proximal(F each) {
    double sigma = p_.reg, tol = 1e-2;
    for (int round = 0; round < kProximal && !clock_.exhausted(); ++round) {
      dual_.sigma = sigma;
      dual_.centre = dual_.t;
      dual_.damping = LineDual<B>::kDamping;
      climb(std::max(tol, limits_.tol), 100);
      double moved = 0;
      for (index e = 0; e < dual_.t.size(); ++e) moved += std::fabs(dual_.t[e] - dual_.centre[e]);
      const double factor = each(moved);
      if (factor == 0) break;
      thin();
      sigma = std::max(factor * sigma, 1e-4 * p_.reg);
      tol *= 0.2;
    }
  }

  // Entropic potentials of falling reg until few entries exceed a_i b_j; those are the first plan, and
  // the sum of their slacks is the quadratic reg that belongs to them.
  double start() {
    const index few = std::max(4 * (n_ + m_), n_ * m_ / 32);
    EntropicStart<B> entropic(be_, p_, limits_, monitor_);
    double x = 0, reg = 0;
    index last_count = n_ * m_;
    const double range = p_.range > 0 ? p_.range : p_.reg;
    margin_ = 1e-3 * range;  // if there is no time for any of this
    for (index i = 0; i < n_; ++i) f_[i] = a_[i] > 0 ? 0.0 : -INFINITY;
    for (index j = 0; j < m_; ++j) g_[j] = b_[j] > 0 ? 0.0 : -INFINITY;
    for (double smooth = range / 8; !stopped(); smooth /= 4) {
      clock_.n_iter += entropic.run(smooth, f_.data(), g_.data());
      margin_ = 4 * smooth;
      for (index i = 0; i < n_; ++i) f_[i] = a_[i] > 0 ? smooth * f_[i] : -INFINITY;
      for (index j = 0; j < m_; ++j) g_[j] = b_[j] > 0 ? smooth * g_[j] : -INFINITY;
      be_.candidates(p_.geo, f_.data(), g_.data(), 0, few, found_);
      clock_.count();
      if (found_.overflow) {
        // Ties: few will not do, and with smaller reg the potentials only get worse.
        const index count = std::exchange(last_count, found_.nnz);
        if (smooth >= 1e-6 * range && (found_.nnz > n_ * m_ / 8 || found_.nnz < 0.6 * static_cast<double>(count)))
          continue;
        be_.candidates(p_.geo, f_.data(), g_.data(), 0, std::numeric_limits<index>::max(), found_);
        clock_.count();
      }
      reg = positive_sum(0);
      // Large reg: the potentials rise until their sum is reg. The sum is convex and at most n m x more.
      for (x = 0; reg < p_.reg && !stopped();) {
        x = x > 0 ? 2 * x : std::max(smooth, (p_.reg - reg) / static_cast<double>(n_) / static_cast<double>(m_));
        be_.candidates(p_.geo, f_.data(), g_.data(), x, std::numeric_limits<index>::max(), found_);
        clock_.count();
        reg = positive_sum(x);
        margin_ = x;
      }
      break;
    }
    for (index i = 0; i < n_; ++i) f_[i] += x;
    look();
    return std::max(p_.reg, reg);
  }

  double positive_sum(double x) const {
    double sum = 0;
    for (index i = 0, e = 0; i < n_ && !found_.overflow; ++i)
      for (; e < found_.begin[i + 1]; ++e) sum += f_[i] + g_[found_.idx[e]] - found_.cost[e] + x;
    return sum;
  }

  // False where the potentials given cannot be those of a problem like this: their digits would be lost.
  bool resume(const double* f, const double* g) {
    be_.read(n_, f, f_.data());
    be_.read(m_, g, g_.data());
    const double most = 1e6 * (p_.range + p_.reg);
    for (index i = 0; i < n_; ++i)
      if (a_[i] > 0 && !(std::fabs(f_[i]) < most)) return false;
    for (index j = 0; j < m_; ++j)
      if (b_[j] > 0 && !(std::fabs(g_[j]) < most)) return false;
    for (index i = 0; i < n_; ++i)
      if (!(a_[i] > 0)) f_[i] = -INFINITY;
    for (index j = 0; j < m_; ++j)
      if (!(b_[j] > 0)) g_[j] = -INFINITY;
    const index few = std::min(n_ * m_, 8 * (n_ + m_));
    for (margin_ = 1e-6 * p_.range; margin_ < 4 * p_.range; margin_ *= 4) {
      be_.candidates(p_.geo, f_.data(), g_.data(), margin_, few, found_);
      clock_.count();
      if (found_.overflow || found_.nnz >= few / 2) break;
    }
    margin_ = std::max(margin_, p_.reg / static_cast<double>(std::max(n_, m_)));
    look();
    return true;
  }

  // The candidates at the potentials reached. Rows and columns without any are raised to their c-transforms.
  void look(bool positive = false) {
    put();
    dual_.find_level(positive);
    for (int round = 0; round < 3; ++round) {
      lower();
      be_.candidates(p_.geo, low_row_.data(), low_col_.data(), margin_, std::numeric_limits<index>::max(), found_);
      clock_.count();
      bool bare = false;
      for (index i = 0; i < n_; ++i) bare |= a_[i] > 0 && found_.begin[i] == found_.begin[i + 1];
      double left = 0;
      for (index j = 0; j < m_; ++j) left += spare_col_[j] = b_[j] > 0;
      for (index e = 0; e < found_.nnz && left > 0; ++e) left -= std::exchange(spare_col_[found_.idx[e]], 0.0);
      bare |= left > 0;
      if (!bare) break;
      auto rows = be_.template buffer<double>(n_), cols = be_.template buffer<double>(m_);
      be_.write(m_, low_col_.data(), cols.data());
      be_.c_transform(p_.geo, cols.data(), rows.data(), p_.a, nullptr);
      be_.read(n_, rows.data(), spare_row_.data());
      for (index i = 0; i < n_; ++i)
        if (a_[i] > 0 && found_.begin[i] == found_.begin[i + 1]) f_[i] = spare_row_[i] + row_level(i);
      lower();
      be_.write(n_, low_row_.data(), rows.data());
      be_.c_transform(p_.geo, nullptr, rows.data(), p_.a, cols.data());
      Buffer<double> low(m_);
      be_.read(m_, cols.data(), low.data());
      for (index j = 0; j < m_; ++j)
        if (spare_col_[j] > 0) g_[j] = low[j] + col_level(j);
    }
    dual_.load(found_, f_.data(), g_.data(), by_rows_);
  }

  // Potentials by which an entry of slack 0 is at the level of its line.
  void lower() {
    for (index i = 0; i < n_; ++i) low_row_[i] = f_[i] - row_level(i);
    for (index j = 0; j < m_; ++j) low_col_[j] = g_[j] - col_level(j);
  }
  double row_level(index i) const { return by_rows_ ? dual_.level[i] : 0; }
  double col_level(index j) const { return by_rows_ ? 0 : dual_.level[j]; }

  // The potentials reached become the base of the candidates' ones; f and g share what only their sum fixes.
  void put() {
    const auto &rows = by_rows_ ? dual_.beta : dual_.alpha, &cols = by_rows_ ? dual_.alpha : dual_.beta;
    double sum_f = 0, sum_g = 0;
    for (index i = 0; i < n_; ++i) {
      f_[i] += rows[i];
      sum_f += a_[i] > 0 ? a_[i] * f_[i] : 0.0;
    }
    for (index j = 0; j < m_; ++j) {
      g_[j] += cols[j];
      sum_g += b_[j] > 0 ? b_[j] * g_[j] : 0.0;
    }
    const double shift = 0.5 * (sum_f - sum_g);
    if (!(std::fabs(shift) > p_.range)) return;  // no digits at stake
    for (index i = 0; i < n_; ++i) f_[i] -= shift;
    for (index j = 0; j < m_; ++j) g_[j] += shift;
  }

  void finish(double* f, double* g, Outcome& out) {
    const auto &rows = by_rows_ ? dual_.beta : dual_.alpha, &cols = by_rows_ ? dual_.alpha : dual_.beta;
    for (index i = 0; i < n_; ++i) spare_row_[i] = f_[i] + rows[i];
    for (index j = 0; j < m_; ++j) spare_col_[j] = g_[j] + cols[j];
    be_.write(n_, spare_row_.data(), f);
    be_.write(m_, spare_col_.data(), g);
    out.n_iter = clock_.n_iter;
    out.status = out.error <= limits_.tol ? Status::converged : clock_.reason();
  }

  // <a, f> + <b, g> of the base.
  double base() const {
    double sum = 0;
    for (index i = 0; i < n_; ++i) sum += a_[i] > 0 ? a_[i] * f_[i] : 0.0;
    for (index j = 0; j < m_; ++j) sum += b_[j] > 0 ? b_[j] * g_[j] : 0.0;
    return sum;
  }
  double value(bool project, double* beyond = nullptr) { return base() + dual_.value(project, beyond); }

  // <C,T> + reg/2 |T|^2, where T has the marginals a and b but for the gradient of `from`.
  double primal(const LineDual<B>& from) const {
    double sum = base(), square = 0;
    const auto& of = by_rows_ ? g_ : f_;
    for (index i = 0; i < from.others; ++i)
      if (from.a[i] > 0) sum -= from.gradient[i] * of[i];
    for (index e = 0; e < from.t.size(); ++e) {
      if (from.t[e] > 0) sum += from.cost[e] * from.t[e];
      square += from.t[e] * from.t[e];
    }
    return sum + 0.5 * p_.reg * square;
  }

  // The error of a plan given.
  static void measure(LineDual<B>& of) {
    double lines = 0;
    std::copy(of.a, of.a + of.others, of.gradient.begin());
    for (index j = 0; j < of.lines; ++j) {
      double sum = of.b[j];
      for (index e = of.begin[j]; e < of.begin[j + 1]; ++e) {
        sum -= of.t[e];
        of.gradient[of.idx[e]] -= of.t[e];
      }
      lines += std::fabs(sum);
    }
    of.error = 0;
    for (const double v : of.gradient) of.error += std::fabs(v);
    of.error = std::max(of.error, lines);
  }

  void take(const LineDual<B>& from, SparsePlan& plan) const {
    plan.begin.assign(1, 0);
    plan.idx.clear();
    plan.val.clear();
    for (index j = 0; j < from.lines; ++j) {
      for (index e = from.begin[j]; e < from.begin[j + 1]; ++e)
        if (from.t[e] > 0) {
          plan.idx.push_back(from.idx[e]);
          plan.val.push_back(from.t[e]);
        }
      plan.begin.push_back(plan.idx.size());
    }
    plan.value = primal(from);
  }

  // Asked between Newton steps; Ctrl-C surfaces here.
  bool stopped() {
    const double now = clock_.elapsed();
    if (now - polled_ > 0.02) {
      polled_ = now;
      if (monitor_.poll && monitor_.poll()) throw Interrupted();
    }
    return clock_.exhausted();
  }

  static constexpr double kFactor = 6;                       // between two values of reg
  static constexpr double kFall = 0.4;                       // between two of sigma
  static constexpr double kLoose = 0.03;                     // error on the way
  static constexpr double kAhead = 1.5;                      // margin over the last move of potentials
  static constexpr index kFew = 2, kLeast = index{1} << 13;  // candidates a row and column, and in all, at least
  static constexpr int kRounds = 100, kProximal = 40;
  static constexpr index kAll = index{1} << 24;  // entries that may all be candidates
  static constexpr double kLinear = 1e-5;        // reg over the range of C, from where on reg/2 is no loss
  B& be_;
  const Problem& p_;
  const Limits limits_;
  const Monitor& monitor_;
  const bool by_rows_, warm_;
  const index n_, m_;
  Clock clock_;
  LineDual<B> dual_;
  Candidates found_;
  Buffer<double> a_, b_, f_, g_, low_row_, low_col_, spare_row_, spare_col_;  // on the host
  double margin_ = 0, polled_ = 0;
};

}  // namespace ot
