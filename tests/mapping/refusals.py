"""Edits of the toy table that break one rule each, and what is said about them."""

from __future__ import annotations

from typing import NamedTuple


class Refusal(NamedTuple):
    """One edit of the toy table, and what is said about it (``FILE`` stands for the table's path)."""

    name: str
    old: str
    new: str
    message: str
    hint: str | None


REFUSALS = [
    Refusal(
        "cells",
        '["stem/weights", "stem/kernel", "conv 3 3 3 4"]',
        '["stem/weights", "conv 3 3 3 4"]',
        "`FILE`, group 1, row `stem/weights`: 2 cells for 3 columns (slim, keras, axes)",
        None,
    ),
    Refusal(
        "empty_row",
        '["stem/weights", "stem/kernel", "conv 3 3 3 4"]',
        "[]",
        "`FILE`, group 1: 0 cells for 3 columns (slim, keras, axes)",
        None,
    ),
    Refusal(
        "prefix_cells",
        'prefix = ["block{b}/unit_{u}/", "stage{b+1}_{u}_"]',
        'prefix = ["block{b}/unit_{u}/"]',
        "`FILE`, group 2: the prefix has 1 cells for 2 dialects",
        None,
    ),
    Refusal(
        "unknown_table_key",
        "[sizes]\nwidth",
        "[size]\nwidth",
        "`FILE`: the table has the unknown key `size`\n"
        "  expected: axes, columns, epsilon, family, foreign, group, ignore, like, numbers, order, relation, root, "
        "shadow, sizes, spellings, stock, variants, words",
        "did you mean `sizes`?",
    ),
    Refusal(
        "unknown_group_key",
        "over   = ",
        "ower   = ",
        "`FILE`, group 2: the group has the unknown key `ower`\n  expected: folds, optional, over, prefix, rows",
        "did you mean `over`?",
    ),
    Refusal(
        "unknown_fold_key",
        "into = ",
        "onto = ",
        "`FILE`, group 2: the fold has the unknown key `onto`\n  expected: axis, dialect, into, op, with",
        "did you mean `into`?",
    ),
    Refusal(
        "unknown_dialect_section",
        "[root]\nslim",
        "[root]\nslym",
        "`FILE`: [root] has the unknown key `slym`\n  expected: keras, slim",
        "did you mean `slim`?",
    ),
    Refusal(
        "unknown_hole",
        '{bn}", "bn',
        '{bm}", "bn',
        "`FILE`, group 2, row `conv/BatchNorm/{bm}`: `{bm}` is neither an index of this group (b, u) nor a "
        "word of dialect `slim`",
        "did you mean `{bn}`?",
    ),
    Refusal(
        "far_hole",
        '{bn}", "bn',
        '{zzzz}", "bn',
        "`FILE`, group 2, row `conv/BatchNorm/{zzzz}`: `{zzzz}` is neither an index of this group (b, u) "
        "nor a word of dialect `slim`",
        None,
    ),
    Refusal(
        "hole_in_prefix",
        '"stage{b+1}_{u}_"',
        '"stage{c}_{u}_"',
        "`FILE`, group 2: `{c}` is no index of this group (b, u)",
        None,
    ),
    Refusal(
        "word_in_prefix",
        '"stage{b+1}_{u}_"',
        '"stage{b+1}_{u}_{bn}"',
        "`FILE`, group 2: `{bn}` is no index of this group (b, u)",
        "did you mean `{b}`?",
    ),
    Refusal(
        "hole_in_root",
        'slim = "{variant}/"',
        'slim = "{b}/"',
        "`FILE`: `{b}` is no index (there is none)",
        None,
    ),
    Refusal(
        "offset_word",
        '"bn/{bn}"',
        '"bn/{bn+1}"',
        "`FILE`, group 2, row `conv/BatchNorm/{bn}`: `{bn}` is no index and takes no offset",
        None,
    ),
    Refusal(
        "brace",
        '"bn/{bn}"',
        '"bn/{bn"',
        "`FILE`, group 2, row `conv/BatchNorm/{bn}`: `bn/{bn` has a brace that is no hole; a hole is an "
        "index `{b}`, `{b+1}`, `{b-1}` or a word `{bn}`",
        None,
    ),
    Refusal(
        "constant",
        '"=0"',
        '"=zero"',
        "`FILE`, group 2, row `conv/bias`: `=zero` is not a constant; a constant is `=` and a number, like `=0`",
        None,
    ),
    Refusal(
        "constant_nan",
        '"=0"',
        '"=nan"',
        "`FILE`, group 2, row `conv/bias`: `=nan` is not a constant; a constant is `=` and a number, like `=0`",
        None,
    ),
    Refusal(
        "all_constants",
        '["=0",                  "conv/bias", ',
        '["=0", "=0",',
        "`FILE`, group 2, row `bias width`: every cell is a constant",
        None,
    ),
    Refusal(
        "axes_entry",
        '"conv 1 1 width width"',
        '"conf 1 1 width width"',
        "`FILE`, group 2, row `conv/weights`: `conf` is no entry of [axes]\n"
        "  expected: conv, stem, bias, dense, vector, head, classes",
        "did you mean `conv`?",
    ),
    Refusal(
        "no_axes",
        '"conv 1 1 width width"',
        '""',
        "`FILE`, group 2, row `conv/weights`: `` is no entry of [axes]\n"
        "  expected: conv, stem, bias, dense, vector, head, classes",
        None,
    ),
    Refusal(
        "axes_dialect",
        "[sizes]",
        '[axes]\nvector = { slim = "n" }\n[sizes]',
        "`FILE`, group 2, row `conv/BatchNorm/{bn}`: [axes] vector has no axes for dialect `keras`",
        None,
    ),
    Refusal(
        "axes_text",
        "[sizes]",
        '[axes]\nvector = { slim = "n", keras = "n-m" }\n[sizes]',
        "`FILE`: [axes] vector.keras: `n-m` is not a list of axes like `h w i o` or `(h w i) o`, at `-m`",
        None,
    ),
    Refusal(
        "axes_twice",
        "[sizes]",
        '[axes]\nvector = { slim = "n", keras = "n n" }\n[sizes]',
        "`FILE`: [axes] vector.keras: `n n` names an axis twice",
        None,
    ),
    Refusal(
        "axes_differ",
        "[sizes]",
        '[axes]\nvector = { slim = "n", keras = "m" }\n[sizes]',
        "`FILE`, group 2, row `conv/BatchNorm/{bn}`: `vector` has the axis `m` in dialect `keras` and not in `slim`",
        None,
    ),
    Refusal(
        "axes_classes_joined",
        "[sizes]",
        '[axes]\nhead = { slim = "1 1 i classes", keras = "(i classes)" }\n[sizes]',
        "`FILE`: [axes] head.keras: `classes` stands alone, it cannot be joined",
        None,
    ),
    Refusal(
        "axes_sizes",
        "[sizes]",
        '[axes]\nvector = { slim = "n", keras = "n", sizes = { m = 3 } }\n[sizes]',
        "`FILE`: [axes] vector.sizes has the unknown key `m`\n  expected: n",
        None,
    ),
    Refusal(
        "n_sizes",
        '"conv 1 1 width width"',
        '"conv 1 1 width"',
        "`FILE`, group 2, row `conv/weights`: 3 sizes for the 4 axes of `conv` (h w i o)",
        None,
    ),
    Refusal(
        "no_size",
        '"conv 1 1 width width"',
        '"conv 1 1 width with"',
        "`FILE`, group 2, row `conv/weights`: `with` is no size\n  expected: width, b, u, classes, embedding",
        None,
    ),
    Refusal(
        "classes_size",
        '"conv 1 1 width width"',
        '"conv 1 1 width classes"',
        "`FILE`, group 2, row `conv/weights`: the size `classes` is that of the axis `classes` alone\n"
        "  got:      axis `o`",
        None,
    ),
    Refusal(
        "variant_size",
        "[sizes]\nwidth = [4, 8]",
        "",
        "`FILE`, group 2, row `conv/weights`: `width` is no size\n  expected: b, u, classes, embedding",
        None,
    ),
    Refusal(
        "words",
        "[sizes]",
        '[words.bn]\nslim = ["a", "b"]\nkeras = ["a"]\n[sizes]',
        "`FILE`: [words] bn has lists of different lengths",
        None,
    ),
    Refusal(
        "op",
        'op = "bias_into_mean"',
        'op = "bias_in_mean"',
        "`FILE`, group 2: `bias_in_mean` is no operation\n"
        "  expected: bias_into_mean, bias_out_of_mean, scale_into_gamma, scale_into_beta, gamma_into_kernel, gamma_into_mean, shift_epsilon, drop_background, "
        "add_background, swap_rgb",
        None,
    ),
    Refusal(
        "op_fold",
        'op = "bias_into_mean"',
        'op = "swap_rgb"',
        "`FILE`, group 2: `swap_rgb` takes no other tensor in, it is no fold",
        None,
    ),
    Refusal(
        "op_operands",
        'with = ["conv/bias"]',
        "with = []",
        "`FILE`, group 2: `bias_into_mean` takes 1 tensors `with` it\n  got:      0",
        None,
    ),
    Refusal(
        "op_dialect",
        'dialect = "keras"',
        'dialect = "torch"',
        "`FILE`, group 2: the fold's dialect `torch` is no column\n  expected: slim, keras",
        None,
    ),
    Refusal(
        "count",
        "toy_b = { b = 3, u = 1 }",
        "toy_b = { b = 3 }",
        "`FILE`, group 2: the group runs over `u`, which variant `toy_b` doesn't count",
        None,
    ),
    Refusal(
        "neither",
        '"stage{b+1}_{u}_"',
        '"stage{b+1}_"',
        "`FILE`, group 2, row `conv/weights`: `u` is neither a hole nor an axis of dialect `keras`",
        None,
    ),
    Refusal(
        "no_cell",
        'prefix = ["block{b}/unit_{u}/", "stage{b+1}_{u}_"]',
        'prefix = ["block{b}/", "stage{b+1}_"]',
        "`FILE`, group 2, row `conv/weights`: no cell has the index `{u}` that the group runs over",
        None,
    ),
    Refusal(
        "both",
        "[sizes]",
        '[axes]\nvector = { slim = "u", keras = "u" }\n[sizes]',
        "`FILE`, group 2, row `conv/BatchNorm/{bn}`: `u` is both a hole and an axis of dialect `slim`",
        None,
    ),
    Refusal(
        "twice_over",
        '["b", "u"]',
        '["b", "u", "b"]',
        "`FILE`, group 2: the group runs over `b` twice",
        None,
    ),
    Refusal(
        "over_word",
        '["b", "u"]',
        '["b", "bn"]',
        "`FILE`, group 2: the group runs over `bn`, which is the name of a word",
        None,
    ),
    Refusal(
        "columns",
        '"keras", "axes"]',
        '"keras"]',
        "`FILE`: `columns` names two dialects or more, each once, and ends with `axes`\n  got:      ['slim', 'keras']",
        None,
    ),
    Refusal(
        "columns_twice",
        '"keras", "axes"]',
        '"slim", "axes"]',
        "`FILE`: `columns` names two dialects or more, each once, and ends with `axes`\n"
        "  got:      ['slim', 'slim', 'axes']",
        None,
    ),
    Refusal(
        "no_family",
        'family  = "toy"',
        "",
        "`FILE`: `family` is missing",
        None,
    ),
    Refusal(
        "no_variants",
        "toy_a = { b = 2, u = [2, 1] }\ntoy_b = { b = 3, u = 1 }",
        "",
        "`FILE`: there is no variant",
        "add a line like `net_50 = { b = 4 }` below `[variants]`",
    ),
    Refusal(
        "no_rows",
        'rows = [\n  ["stem/weights", "stem/kernel", "conv 3 3 3 4"],\n]',
        "",
        "`FILE`, group 1: the group has neither rows nor folds",
        None,
    ),
    Refusal(
        "toml",
        "[sizes]",
        "[sizes",
        "`FILE`: this is no TOML: Expected ']' at the end of a table declaration (at line 11, column 7)",
        None,
    ),
    Refusal(
        "stock",
        "[sizes]",
        '[stock.keras]\nclasses = {}\nwhy = "x"\n[sizes]',
        "`FILE`: `stock.keras.difference` is missing",
        None,
    ),
    Refusal(
        "stock_variant",
        "[sizes]",
        '[stock.keras]\nclasses = {toy_c = "X"}\nwhy = "x"\ndifference="d"\ninstead="i"\n[sizes]',
        "`FILE`: [stock.keras.classes] has the unknown key `toy_c`\n  expected: toy_a, toy_b",
        "did you mean `toy_b`?",
    ),
    Refusal(
        "order_hole",
        "[sizes]",
        '[order]\nkeras = ["stem", "x{w}"]\n[sizes]',
        "`FILE`: `{w}` is no index (b, u)",
        None,
    ),
    Refusal(
        "kind_family",
        '"toy"\n',
        "5\n",
        "`FILE`: `family` is of the wrong kind\n  expected: a text in quotes\n  got:      the value 5",
        None,
    ),
    Refusal(
        "kind_columns",
        'columns = ["slim", "keras", "axes"]',
        'columns = "slim"',
        "`FILE`: `columns` is of the wrong kind\n  expected: a list\n  got:      the text slim",
        None,
    ),
    Refusal(
        "kind_variants",
        "toy_b = { b = 3, u = 1 }",
        "toy_b = 3",
        "`FILE`: `variants.toy_b` is of the wrong kind\n  expected: a section\n  got:      the value 3",
        None,
    ),
    Refusal(
        "kind_count",
        "toy_b = { b = 3, u = 1 }",
        'toy_b = { b = 3, u = ["1"] }',
        "`FILE`: `variants.toy_b.u, item 1` is of the wrong kind\n"
        "  expected: a whole number or a list of them\n"
        "  got:      the text 1",
        None,
    ),
    Refusal(
        "count_as_far_as_nothing",
        "toy_b = { b = 3, u = 1 }",
        'toy_b = { b = 3, u = "c" }',
        "`FILE`, group 2: variant `toy_b` counts `u` as far as `c`, which is no index of the group outside of it",
        None,
    ),
    Refusal(
        "count_as_far_as_an_inner_index",
        "toy_b = { b = 3, u = 1 }",
        'toy_b = { b = "u", u = 1 }',
        "`FILE`, group 2: variant `toy_b` counts `b` as far as `u`, which is no index of the group outside of it",
        None,
    ),
    Refusal(
        "kind_count_bool",
        "toy_b = { b = 3, u = 1 }",
        "toy_b = { b = 3, u = true }",
        "`FILE`: `variants.toy_b.u` is of the wrong kind\n"
        "  expected: a whole number or a list of them\n"
        "  got:      the truth value True",
        None,
    ),
    Refusal(
        "kind_count_neg",
        "toy_b = { b = 3, u = 1 }",
        "toy_b = { b = 3, u = [1, -1] }",
        "`FILE`: `variants.toy_b.u, item 2` is of the wrong kind\n"
        "  expected: a whole number or a list of them\n"
        "  got:      the value -1",
        None,
    ),
    Refusal(
        "kind_sizes",
        "width = [4, 8]",
        "width = [4, 8.5]",
        "`FILE`: `sizes.width, item 2` is of the wrong kind\n"
        "  expected: a whole number or a list of them\n"
        "  got:      the value 8.5",
        None,
    ),
    Refusal(
        "kind_over",
        'over   = ["b", "u"]',
        'over = "b"',
        "`FILE`, group 2: `over` is of the wrong kind\n  expected: a list\n  got:      the text b",
        None,
    ),
    Refusal(
        "kind_rows",
        '["stem/weights", "stem/kernel", "conv 3 3 3 4"]',
        "5",
        "`FILE`, group 1: `rows, item 1` is of the wrong kind\n  expected: a list\n  got:      the value 5",
        None,
    ),
    Refusal(
        "kind_cell",
        '["stem/weights", "stem/kernel", "conv 3 3 3 4"]',
        '["stem/weights", "stem/kernel", 5]',
        "`FILE`, group 1: `rows, item 1, item 3` is of the wrong kind\n"
        "  expected: a text in quotes\n"
        "  got:      the value 5",
        None,
    ),
    Refusal(
        "kind_optional",
        "optional = true",
        'optional = "yes"',
        "`FILE`, group 3: `optional` is of the wrong kind\n  expected: true or false\n  got:      the text yes",
        None,
    ),
    Refusal(
        "kind_with",
        'with = ["conv/bias"]',
        'with = "conv/bias"',
        "`FILE`, group 2: `folds, item 1.with` is of the wrong kind\n"
        "  expected: a list\n"
        "  got:      the text conv/bias",
        None,
    ),
    Refusal(
        "kind_folds",
        'folds = [{ dialect = "keras", op = "bias_into_mean", into = "bn/moving_mean", with = ["conv/bias"] }]',
        'folds = ["x"]',
        "`FILE`, group 2: `folds, item 1` is of the wrong kind\n  expected: a section\n  got:      the text x",
        None,
    ),
    Refusal(
        "kind_root",
        '[root]\nslim = "{variant}/"\n',
        "[root]\nslim = 3\n",
        "`FILE`: `root.slim` is of the wrong kind\n  expected: a text in quotes\n  got:      the value 3",
        None,
    ),
    Refusal(
        "kind_axes",
        "[sizes]",
        '[axes]\nvector = "n"\n[sizes]',
        "`FILE`: `axes.vector` is of the wrong kind\n  expected: a section\n  got:      the text n",
        None,
    ),
    Refusal(
        "kind_words",
        "[sizes]",
        '[words]\nbn = { slim = "gamma", keras = ["x"] }\n[sizes]',
        "`FILE`: `words.bn.slim` is of the wrong kind\n  expected: a list\n  got:      the text gamma",
        None,
    ),
    Refusal(
        "kind_ignore",
        "[sizes]",
        '[ignore]\nslim = ["a"]\n[sizes]',
        "`FILE`: `ignore.slim` is of the wrong kind\n  expected: a section\n  got:      the list ['a']",
        None,
    ),
    Refusal(
        "kind_order",
        "[sizes]",
        '[order]\nkeras = "a"\n[sizes]',
        "`FILE`: `order.keras` is of the wrong kind\n  expected: a list\n  got:      the text a",
        None,
    ),
    Refusal(
        "kind_shadow",
        "[sizes]",
        '[shadow]\nslim = ["a"]\n[sizes]',
        "`FILE`: `shadow.slim` is of the wrong kind\n  expected: a text in quotes\n  got:      the list ['a']",
        None,
    ),
    Refusal(
        "kind_stock",
        "[sizes]",
        '[stock]\nkeras = "a"\n[sizes]',
        "`FILE`: `stock.keras` is of the wrong kind\n  expected: a section\n  got:      the text a",
        None,
    ),
]
