// sm_90a: warpgroup matrix multiply, m64nNk16 on bf16 or f16 with f32 accumulators. 128 consecutive threads
// (from a multiple of 128 on) take part.
//
//   wgmma_ss<T, MajorA, MajorB>(d, descriptor_a, descriptor_b, accumulate)   both operands in shared memory
//   wgmma_rs<T, MajorB>(d, a, descriptor_b, accumulate)                      A in registers
//       d: Reg<f32, N/2>, N = 8 .. 256 in steps of 8. d = a*b (+ d if accumulate). d may not be touched
//       between the issue and the wait; a may not be written.
//       Element i = 4j + 2h + c of d: row 16 (warp % 4) + lane/4 + 8h, column 8j + 2 (lane % 4) + c.
//       A in registers: a[0..3] as for mma_m16n8k16, for the warp's own 16 rows.
//
//   wgmma_descriptor(address, leading, stride, swizzle)
//       offsets in bytes; Swizzle::none, b32, b64, b128. The operand is rows (of A) or columns (of B) x k.
//       Major::k, the reduction is contiguous:
//           `stride` from one group of 8 rows to the next; `leading` only without a swizzle, from the first
//           8 k to the second. The next 16 k: address + 32 (with a swizzle).
//       Major::mn, the rows are contiguous, with a swizzle of S bytes:
//           `leading` from one group of S/2 rows to the next, `stride` from one group of 8 k to the next
//           (8 * S when packed). The next 16 k: address + 2 * stride.
//       Major::mn without a swizzle: 8x8 matrices of 128 contiguous bytes;
//           `stride` from one group of 8 rows to the next, `leading` from one group of 8 k to the next.
//       With a swizzle of S bytes every tile starts at a multiple of 8 * S. descriptor + n adds n * 16 bytes.
//
//   wgmma_fence()          before the first wgmma, and whenever registers of d or a were written since
//   wgmma_commit()         closes the group
//   wgmma_wait<N>()        waits until at most N groups are pending
//   register_pin(d)        keeps the compiler from moving uses of d across a wait: call it right after the
//                          wait
//   order_before_wait(x)   keeps the arithmetic that x (>= 0 or NaN, one or a Reg of them) comes from before
//                          the next wait; ptxas sinks it below otherwise
#pragma once

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
namespace spak {

SPAK_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
SPAK_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <u32 Pending>
SPAK_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
template <u32 N>
SPAK_DEVICE void register_pin(Reg<f32, N>& d) {
  SPAK_UNROLL
  for (u32 i = 0; i < N; i++) asm volatile("" : "+f"(d[i])::"memory");
}
// Never taken: a trap or a branch here would break the register budget.
SPAK_DEVICE void order_before_wait(f32 x) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.lt.f32 p, %0, 0fBF800000;\n"
      "@p st.shared.f32 [%1], %0;\n"
      "}" ::"f"(x), "r"(0)
      : "memory");
}
template <u32 N>
SPAK_DEVICE void order_before_wait(const Reg<f32, N>& x) {
  f32 sum = x[0];
  SPAK_UNROLL
  for (u32 i = 1; i < N; i++) sum += x[i];
  order_before_wait(sum);
}

template <class T, Major MajorA, Major MajorB, u32 Registers>
struct WgmmaShared;
template <class T, Major MajorB, u32 Registers>
struct WgmmaRegisters;

// The accumulator in the instruction text (%0, %1, ...) and in the operand list, four registers at a time.
#define SPAK_TEXT_4 "%0,%1,%2,%3"
#define SPAK_TEXT_8 SPAK_TEXT_4 ",%4,%5,%6,%7"
#define SPAK_TEXT_12 SPAK_TEXT_8 ",%8,%9,%10,%11"
#define SPAK_TEXT_16 SPAK_TEXT_12 ",%12,%13,%14,%15"
#define SPAK_TEXT_20 SPAK_TEXT_16 ",%16,%17,%18,%19"
#define SPAK_TEXT_24 SPAK_TEXT_20 ",%20,%21,%22,%23"
#define SPAK_TEXT_28 SPAK_TEXT_24 ",%24,%25,%26,%27"
#define SPAK_TEXT_32 SPAK_TEXT_28 ",%28,%29,%30,%31"
#define SPAK_TEXT_36 SPAK_TEXT_32 ",%32,%33,%34,%35"
#define SPAK_TEXT_40 SPAK_TEXT_36 ",%36,%37,%38,%39"
#define SPAK_TEXT_44 SPAK_TEXT_40 ",%40,%41,%42,%43"
#define SPAK_TEXT_48 SPAK_TEXT_44 ",%44,%45,%46,%47"
#define SPAK_TEXT_52 SPAK_TEXT_48 ",%48,%49,%50,%51"
#define SPAK_TEXT_56 SPAK_TEXT_52 ",%52,%53,%54,%55"
#define SPAK_TEXT_60 SPAK_TEXT_56 ",%56,%57,%58,%59"
#define SPAK_TEXT_64 SPAK_TEXT_60 ",%60,%61,%62,%63"
#define SPAK_TEXT_68 SPAK_TEXT_64 ",%64,%65,%66,%67"
#define SPAK_TEXT_72 SPAK_TEXT_68 ",%68,%69,%70,%71"
#define SPAK_TEXT_76 SPAK_TEXT_72 ",%72,%73,%74,%75"
#define SPAK_TEXT_80 SPAK_TEXT_76 ",%76,%77,%78,%79"
#define SPAK_TEXT_84 SPAK_TEXT_80 ",%80,%81,%82,%83"
#define SPAK_TEXT_88 SPAK_TEXT_84 ",%84,%85,%86,%87"
#define SPAK_TEXT_92 SPAK_TEXT_88 ",%88,%89,%90,%91"
#define SPAK_TEXT_96 SPAK_TEXT_92 ",%92,%93,%94,%95"
#define SPAK_TEXT_100 SPAK_TEXT_96 ",%96,%97,%98,%99"
#define SPAK_TEXT_104 SPAK_TEXT_100 ",%100,%101,%102,%103"
#define SPAK_TEXT_108 SPAK_TEXT_104 ",%104,%105,%106,%107"
#define SPAK_TEXT_112 SPAK_TEXT_108 ",%108,%109,%110,%111"
#define SPAK_TEXT_116 SPAK_TEXT_112 ",%112,%113,%114,%115"
#define SPAK_TEXT_120 SPAK_TEXT_116 ",%116,%117,%118,%119"
#define SPAK_TEXT_124 SPAK_TEXT_120 ",%120,%121,%122,%123"
#define SPAK_TEXT_128 SPAK_TEXT_124 ",%124,%125,%126,%127"
#define SPAK_OPERANDS_4 "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
#define SPAK_OPERANDS_8 SPAK_OPERANDS_4, "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7])
#define SPAK_OPERANDS_12 SPAK_OPERANDS_8, "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11])
#define SPAK_OPERANDS_16 SPAK_OPERANDS_12, "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])
#define SPAK_OPERANDS_20 SPAK_OPERANDS_16, "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19])
#define SPAK_OPERANDS_24 SPAK_OPERANDS_20, "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23])
#define SPAK_OPERANDS_28 SPAK_OPERANDS_24, "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27])
#define SPAK_OPERANDS_32 SPAK_OPERANDS_28, "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define SPAK_OPERANDS_36 SPAK_OPERANDS_32, "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35])
#define SPAK_OPERANDS_40 SPAK_OPERANDS_36, "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39])
#define SPAK_OPERANDS_44 SPAK_OPERANDS_40, "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43])
#define SPAK_OPERANDS_48 SPAK_OPERANDS_44, "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47])
#define SPAK_OPERANDS_52 SPAK_OPERANDS_48, "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51])
#define SPAK_OPERANDS_56 SPAK_OPERANDS_52, "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55])
#define SPAK_OPERANDS_60 SPAK_OPERANDS_56, "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59])
#define SPAK_OPERANDS_64 SPAK_OPERANDS_60, "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define SPAK_OPERANDS_68 SPAK_OPERANDS_64, "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67])
#define SPAK_OPERANDS_72 SPAK_OPERANDS_68, "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71])
#define SPAK_OPERANDS_76 SPAK_OPERANDS_72, "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75])
#define SPAK_OPERANDS_80 SPAK_OPERANDS_76, "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79])
#define SPAK_OPERANDS_84 SPAK_OPERANDS_80, "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83])
#define SPAK_OPERANDS_88 SPAK_OPERANDS_84, "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87])
#define SPAK_OPERANDS_92 SPAK_OPERANDS_88, "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91])
#define SPAK_OPERANDS_96 SPAK_OPERANDS_92, "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95])
#define SPAK_OPERANDS_100 SPAK_OPERANDS_96, "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99])
#define SPAK_OPERANDS_104 SPAK_OPERANDS_100, "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103])
#define SPAK_OPERANDS_108 SPAK_OPERANDS_104, "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107])
#define SPAK_OPERANDS_112 SPAK_OPERANDS_108, "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111])
#define SPAK_OPERANDS_116 SPAK_OPERANDS_112, "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115])
#define SPAK_OPERANDS_120 SPAK_OPERANDS_116, "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119])
#define SPAK_OPERANDS_124 SPAK_OPERANDS_120, "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123])
#define SPAK_OPERANDS_128 SPAK_OPERANDS_124, "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])

// One shape, one type. p0 .. p6 are the operand numbers that follow the accumulator.
#define SPAK_WGMMA_TYPE(N, R, Type, name, p0, p1, p2, p3, p4, p5, p6)                                      \
  template <Major MajorA, Major MajorB>                                                                    \
  struct WgmmaShared<Type, MajorA, MajorB, R> {                                                            \
    static SPAK_DEVICE void issue(Reg<f32, R>& d, u64 a, u64 b, i32 accumulate) {                          \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p2                                                  \
                   ", 0;\n"                                                                                \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." name "." name " {" SPAK_TEXT_##R      \
                   "}, " p0 ", " p1 ", p, 1, 1, " p3 ", " p4 ";\n}"                                        \
                   : SPAK_OPERANDS_##R                                                                     \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(MajorA == Major::mn), "n"(MajorB == Major::mn)); \
    }                                                                                                      \
  };                                                                                                       \
  template <Major MajorB>                                                                                  \
  struct WgmmaRegisters<Type, MajorB, R> {                                                                 \
    static SPAK_DEVICE void issue(Reg<f32, R>& d, const Reg<u32, 4>& a, u64 b, i32 accumulate) {           \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p5                                                  \
                   ", 0;\n"                                                                                \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." name "." name " {" SPAK_TEXT_##R      \
                   "}, {" p0 ", " p1 ", " p2 ", " p3 "}, " p4 ", p, 1, 1, " p6 ";\n}"                      \
                   : SPAK_OPERANDS_##R                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate),                  \
                     "n"(MajorB == Major::mn));                                                            \
    }                                                                                                      \
  };
#define SPAK_WGMMA(N, R, ...)                      \
  SPAK_WGMMA_TYPE(N, R, bf16, "bf16", __VA_ARGS__) \
  SPAK_WGMMA_TYPE(N, R, f16, "f16", __VA_ARGS__)

SPAK_WGMMA(8, 4, "%4", "%5", "%6", "%7", "%8", "%9", "%10")
SPAK_WGMMA(16, 8, "%8", "%9", "%10", "%11", "%12", "%13", "%14")
SPAK_WGMMA(24, 12, "%12", "%13", "%14", "%15", "%16", "%17", "%18")
SPAK_WGMMA(32, 16, "%16", "%17", "%18", "%19", "%20", "%21", "%22")
SPAK_WGMMA(40, 20, "%20", "%21", "%22", "%23", "%24", "%25", "%26")
SPAK_WGMMA(48, 24, "%24", "%25", "%26", "%27", "%28", "%29", "%30")
SPAK_WGMMA(56, 28, "%28", "%29", "%30", "%31", "%32", "%33", "%34")
SPAK_WGMMA(64, 32, "%32", "%33", "%34", "%35", "%36", "%37", "%38")
SPAK_WGMMA(72, 36, "%36", "%37", "%38", "%39", "%40", "%41", "%42")
SPAK_WGMMA(80, 40, "%40", "%41", "%42", "%43", "%44", "%45", "%46")
SPAK_WGMMA(88, 44, "%44", "%45", "%46", "%47", "%48", "%49", "%50")
SPAK_WGMMA(96, 48, "%48", "%49", "%50", "%51", "%52", "%53", "%54")
SPAK_WGMMA(104, 52, "%52", "%53", "%54", "%55", "%56", "%57", "%58")
SPAK_WGMMA(112, 56, "%56", "%57", "%58", "%59", "%60", "%61", "%62")
SPAK_WGMMA(120, 60, "%60", "%61", "%62", "%63", "%64", "%65", "%66")
SPAK_WGMMA(128, 64, "%64", "%65", "%66", "%67", "%68", "%69", "%70")
SPAK_WGMMA(136, 68, "%68", "%69", "%70", "%71", "%72", "%73", "%74")
SPAK_WGMMA(144, 72, "%72", "%73", "%74", "%75", "%76", "%77", "%78")
SPAK_WGMMA(152, 76, "%76", "%77", "%78", "%79", "%80", "%81", "%82")
SPAK_WGMMA(160, 80, "%80", "%81", "%82", "%83", "%84", "%85", "%86")
SPAK_WGMMA(168, 84, "%84", "%85", "%86", "%87", "%88", "%89", "%90")
SPAK_WGMMA(176, 88, "%88", "%89", "%90", "%91", "%92", "%93", "%94")
SPAK_WGMMA(184, 92, "%92", "%93", "%94", "%95", "%96", "%97", "%98")
SPAK_WGMMA(192, 96, "%96", "%97", "%98", "%99", "%100", "%101", "%102")
SPAK_WGMMA(200, 100, "%100", "%101", "%102", "%103", "%104", "%105", "%106")
SPAK_WGMMA(208, 104, "%104", "%105", "%106", "%107", "%108", "%109", "%110")
SPAK_WGMMA(216, 108, "%108", "%109", "%110", "%111", "%112", "%113", "%114")
SPAK_WGMMA(224, 112, "%112", "%113", "%114", "%115", "%116", "%117", "%118")
SPAK_WGMMA(232, 116, "%116", "%117", "%118", "%119", "%120", "%121", "%122")
SPAK_WGMMA(240, 120, "%120", "%121", "%122", "%123", "%124", "%125", "%126")
SPAK_WGMMA(248, 124, "%124", "%125", "%126", "%127", "%128", "%129", "%130")
SPAK_WGMMA(256, 128, "%128", "%129", "%130", "%131", "%132", "%133", "%134")

#undef SPAK_WGMMA
#undef SPAK_WGMMA_TYPE

template <class T, Major MajorA, Major MajorB, u32 Registers>
SPAK_DEVICE void wgmma_ss(Reg<f32, Registers>& d, u64 a, u64 b, bool accumulate) {
  WgmmaShared<T, MajorA, MajorB, Registers>::issue(d, a, b, accumulate);
}
template <class T, Major MajorB, u32 Registers>
SPAK_DEVICE void wgmma_rs(Reg<f32, Registers>& d, const Reg<u32, 4>& a, u64 b, bool accumulate) {
  WgmmaRegisters<T, MajorB, Registers>::issue(d, a, b, accumulate);
}

}  // namespace spak
#endif
