// Claim: a simulation by events: the events are objects in a heap by time, the parts and orders of a factory are shared, and each
// machine has a queue.
// Held constant: 60,000 orders of 1 to 6 parts, each part visiting 2 to 11 of 48 machines; two events per visit, one with a text; a window
// of 20,000 closures that hold a part and a text. Unit: one event. Run by bench/run.py.
#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "workload.h"

namespace {

constexpr std::size_t kMachines = 48;
constexpr std::uint64_t kOrders = 60'000;
constexpr std::size_t kWindow = 20'000;

workload::Random generator(0xfac707fac707fac7ULL);

std::uint64_t next_random() { return generator.next(); }

class Simulation;

struct Order {
  std::uint64_t id;
  std::string customer;
  int open_parts = 0;
  std::vector<std::uint64_t> history;
};

struct Part {
  std::shared_ptr<Order> order;
  std::vector<std::uint8_t> route;  // the machines still to visit, the next one last
  std::string label;
  std::uint64_t born = 0;
};

struct Event {
  virtual ~Event() = default;
  virtual void fire(Simulation &simulation) = 0;

  std::uint64_t when = 0;
  std::uint64_t sequence = 0;
};

struct Machine {
  std::deque<std::shared_ptr<Part>> waiting;
  bool busy = false;
  std::uint64_t done = 0;
};

class Simulation {
 public:
  void schedule(std::uint64_t delay, std::unique_ptr<Event> event) {
    event->when = now_ + delay;
    event->sequence = scheduled_++;
    heap_.push_back(std::move(event));
    std::push_heap(heap_.begin(), heap_.end(), later);
  }

  void run() {
    while (!heap_.empty()) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      std::unique_ptr<Event> event = std::move(heap_.back());
      heap_.pop_back();
      now_ = event->when;
      ++fired_;
      event->fire(*this);
    }
  }

  // A closure that is evaluated when it leaves the window.
  void note(const std::shared_ptr<Part> &part, const std::string &reason) {
    log_.push_back([part, reason, when = now_] { return when * 31 + part->label.size() + reason.size(); });
    if (log_.size() > kWindow) {
      checksum_ = checksum_ * 31 + log_.front()();
      log_.pop_front();
    }
  }

  void new_order();
  void arrive(std::shared_ptr<Part> part);
  void move(std::shared_ptr<Part> part, const std::string &reason);
  void start(std::size_t number);
  void finish(std::size_t number, std::shared_ptr<Part> part);

  std::uint64_t fired() const { return fired_; }

  std::uint64_t checksum() const {
    std::uint64_t sum = checksum_;
    for (const Machine &machine : machines_) sum = sum * 31 + machine.done;
    for (const auto &entry : log_) sum = sum * 31 + entry();
    return sum;
  }

 private:
  static bool later(const std::unique_ptr<Event> &left, const std::unique_ptr<Event> &right) {
    return left->when != right->when ? left->when > right->when : left->sequence > right->sequence;
  }

  std::vector<std::unique_ptr<Event>> heap_;
  std::vector<Machine> machines_ = std::vector<Machine>(kMachines);
  std::map<std::uint64_t, std::weak_ptr<Order>> orders_;
  std::uint64_t now_ = 0;
  std::uint64_t scheduled_ = 0;
  std::uint64_t checksum_ = 0;
  std::uint64_t fired_ = 0;
  std::uint64_t orders_made_ = 0;
  std::deque<std::function<std::uint64_t()>> log_;
};

struct Finish : Event {
  Finish(std::size_t machine, std::shared_ptr<Part> part) : machine(machine), part(std::move(part)) {}

  void fire(Simulation &simulation) override { simulation.finish(machine, std::move(part)); }

  std::size_t machine;
  std::shared_ptr<Part> part;
};

struct Move : Event {
  Move(std::shared_ptr<Part> part, std::string reason) : part(std::move(part)), reason(std::move(reason)) {}

  void fire(Simulation &simulation) override { simulation.move(std::move(part), reason); }

  std::shared_ptr<Part> part;
  std::string reason;
};

struct NewOrder : Event {
  void fire(Simulation &simulation) override { simulation.new_order(); }
};

void Simulation::new_order() {
  auto order = std::make_shared<Order>();
  order->id = orders_made_++;
  order->customer = "customer number " + std::to_string(next_random() % 1000) + " of the northern district";
  orders_[order->id] = order;
  const int parts = 1 + static_cast<int>(next_random() % 6);
  for (int i = 0; i < parts; ++i) {
    auto part = std::make_shared<Part>();
    part->order = order;
    part->born = now_;
    part->label = "part-" + std::to_string(order->id) + "-" + std::to_string(i) + "-steel";
    for (int left = 2 + static_cast<int>(next_random() % 10); left > 0; --left) {
      part->route.push_back(static_cast<std::uint8_t>(next_random() % machines_.size()));
    }
    ++order->open_parts;
    arrive(std::move(part));
  }
  if (orders_made_ < kOrders) schedule(1 + next_random() % 40, std::make_unique<NewOrder>());
}

void Simulation::arrive(std::shared_ptr<Part> part) {
  if (!part->route.empty()) {
    std::string reason = "to machine " + std::to_string(part->route.back()) + ((next_random() & 1) != 0 ? " by cart" : "");
    schedule(5 + next_random() % 2000, std::make_unique<Move>(std::move(part), std::move(reason)));
    return;
  }
  Order &order = *part->order;
  checksum_ = checksum_ * 31 + (now_ - part->born);
  if (--order.open_parts == 0) {
    for (const std::uint64_t visit : order.history) checksum_ = checksum_ * 31 + visit;
    checksum_ += order.customer.size();
    orders_.erase(order.id);
  }
}

void Simulation::move(std::shared_ptr<Part> part, const std::string &reason) {
  const std::size_t number = part->route.back();
  part->route.pop_back();
  if (next_random() % 16 == 0) note(part, reason);
  machines_[number].waiting.push_back(std::move(part));
  start(number);
}

void Simulation::start(std::size_t number) {
  Machine &machine = machines_[number];
  if (machine.busy || machine.waiting.empty()) return;
  machine.busy = true;
  std::shared_ptr<Part> part = std::move(machine.waiting.front());
  machine.waiting.pop_front();
  schedule(10 + next_random() % 70, std::make_unique<Finish>(number, std::move(part)));
}

void Simulation::finish(std::size_t number, std::shared_ptr<Part> part) {
  Machine &machine = machines_[number];
  machine.busy = false;
  ++machine.done;
  part->order->history.push_back(now_ << 8 | number);
  arrive(std::move(part));
  start(number);
}

}  // namespace

int main() {
  Simulation simulation;
  simulation.schedule(1, std::make_unique<NewOrder>());
  simulation.run();
  workload::report(simulation.fired(), simulation.checksum());
}
