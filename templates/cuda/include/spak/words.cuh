// Words among the compile-time choices of a specialisation.
//
// A specialisation binds macros: DTYPE_x (a type), OPTION_x (a word, true or false), LAYOUT_x (the word row or column),
// PRESENT_x (1 or 0), DIM_x and KNOB_x (a number or a word). A source that compares words lists them, each with the prefix
// w_, in an `enum class Word`, and writes SPAK_WORD(OPTION_mode) == Word::w_fast.
#pragma once

#define SPAK_WORD(macro) SPAK_WORD_OF(macro)
#define SPAK_WORD_OF(word) Word::w_##word
