package stats

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedianIsTheMiddleOfTheValues(t *testing.T) {
	for _, tc := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{3, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1, 1, 1000}, 1},
	} {
		before := append([]float64{}, tc.values...)
		require.Equal(t, tc.want, Median(tc.values), "%v", tc.values)
		require.Equal(t, before, tc.values, "the argument is left as it was")
	}
	require.True(t, math.IsNaN(Median(nil)))
}

func TestQuantileIsOneOfTheValues(t *testing.T) {
	var hundred []float64
	for i := 100; i > 0; i-- {
		hundred = append(hundred, float64(i))
	}
	for q, want := range map[float64]float64{0: 1, 0.01: 1, 0.5: 50, 0.501: 51, 0.99: 99, 0.995: 100, 1: 100} {
		require.Equal(t, want, Quantile(hundred, q), "q = %v", q)
	}
	require.Equal(t, 5.0, Quantile([]float64{5}, 0.99))
	require.True(t, math.IsNaN(Quantile(nil, 0.5)))
}

func TestNumbersHaveThreeDigitsThatCount(t *testing.T) {
	for v, want := range map[float64]string{
		1_784_321: "1,780,000", 330_400: "330,000", 12_345: "12,300", 9876.5: "9,876", 567.4: "567",
		28.04: "28.0", 2.754: "2.75", 0.0412: "0.041", 0: "0.000", -1234: "-1,234", -23456: "-23,500",
	} {
		require.Equal(t, want, Number(v))
	}
	require.Equal(t, "–", Number(math.NaN()))
	require.Equal(t, "–", Number(math.Inf(1)))
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 3_000_000: "3,000,000", -12345: "-12,345"} {
		require.Equal(t, want, Count(n))
	}
}

func TestATableIsMarkdownAndReadsAsText(t *testing.T) {
	table := NewTable(1, "writer", "lines/s")
	table.Add("tutorial", "330,000", "too much")
	table.Add("größer")
	require.Equal(t, ""+
		"| writer   | lines/s |\n"+
		"|----------|--------:|\n"+
		"| tutorial | 330,000 |\n"+
		"| größer   |         |\n", table.Markdown())
}
