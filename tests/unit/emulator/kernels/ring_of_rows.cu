// A ring of rows in shared memory that one warp writes plainly and that the others read plainly: the order between them is an
// mbarrier's. Four kernels, told apart by name in a report of compute-sanitizer:
//
//   rows_by_one_lane    lanes meet by sync_warp, then one arrives for all, as Ring does. Right.
//   rows_by_every_lane  each lane arrives for itself. Right.
//   rows_once           the first kernel where no slot comes round. Right.
//   rows_unwaited       nobody waits until a row is there. Wrong.
#include "spak/ring.cuh"
using namespace spak;

struct Params {
  const f32* x;
  f32* y;
};

constexpr u32 READERS = 4, SLOTS = 2, ROUNDS = 6;

enum class Arrives { one_lane, every_lane };

// Row r of `x` goes through slot r % SLOTS; reader w adds w to its elements, a lane those of its neighbours.
template <Arrives arrives, bool waits, u32 rows>
SPAK_DEVICE void ring_of_rows(const Params& params) {
  const u32 slots = align_up(shared_base(), 128u), warp = warp_index(), lane = lane_index();
  const Ring<SLOTS, 1> ring{slots + SLOTS * 128};
  constexpr u32 each = arrives == Arrives::every_lane ? 32 : 1;
  if (first_thread()) {
    ring.init(READERS * each, each);
    mbarrier_init_fence();
  }
  sync_threads();
  if (warp == 0) {
    for (u32 row = 0; row < rows; row++) {
      const auto at = RingPlace<SLOTS>::at(row);
      const f32 value = load(params.x + row * 32 + lane);
      ring.fill_wait(at);
      store_shared(slots + at.slot * 128 + lane * 4, value);
      if constexpr (arrives == Arrives::one_lane) ring.filled(at.slot);
      else mbarrier_arrive(ring.full(at.slot));
    }
  } else {
    for (u32 row = 0; row < rows; row++) {
      const auto at = RingPlace<SLOTS>::at(row);
      if constexpr (waits) ring.wait(at);
      const f32 left = load_shared<f32>(slots + at.slot * 128 + (lane + 31) % 32 * 4);
      const f32 right = load_shared<f32>(slots + at.slot * 128 + (lane + 1) % 32 * 4);
      store(params.y + (row * READERS + warp - 1) * 32 + lane, left + right + static_cast<f32>(warp - 1));
      if constexpr (!waits) ring.wait(at);  // so that it ends
      if constexpr (arrives == Arrives::one_lane) ring.leave(at.slot);
      else mbarrier_arrive(ring.full(at.slot) + SLOTS * 8);  // `empty`
    }
  }
}

SPAK_KERNEL(rows_by_one_lane, Params, 32 * (READERS + 1)) { ring_of_rows<Arrives::one_lane, true, ROUNDS>(params); }
SPAK_KERNEL(rows_by_every_lane, Params, 32 * (READERS + 1)) { ring_of_rows<Arrives::every_lane, true, ROUNDS>(params); }
SPAK_KERNEL(rows_once, Params, 32 * (READERS + 1)) { ring_of_rows<Arrives::one_lane, true, SLOTS>(params); }
SPAK_KERNEL(rows_unwaited, Params, 32 * (READERS + 1)) { ring_of_rows<Arrives::one_lane, false, ROUNDS>(params); }
