// Package stats is the benchmark's arithmetic: medians and quantiles of few
// values, and tables in Markdown. It measures nothing itself.
package stats

import (
	"math"
	"slices"
	"strconv"
)

// Median is the middle of the values, or the mean of the two in the middle;
// NaN for none. It does not change its argument.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}

// Quantile is the smallest value that at least the share q (0 to 1) of all
// values do not exceed: the nearest-rank method, which invents no value
// between two. NaN for none. It does not change its argument.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Number prints v with about three significant digits and with thousands
// separated; "–" for NaN and infinities, which stand for "not measured".
func Number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	abs := math.Abs(v)
	switch {
	case abs >= 10_000:
		unit := math.Pow(10, math.Floor(math.Log10(abs))-2)
		return separate(strconv.FormatFloat(math.Round(v/unit)*unit, 'f', 0, 64))
	case abs >= 100:
		return separate(strconv.FormatFloat(v, 'f', 0, 64))
	case abs >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case abs >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

// Count prints a whole number with thousands separated.
func Count(n int64) string { return separate(strconv.FormatInt(n, 10)) }

func separate(digits string) string {
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}
