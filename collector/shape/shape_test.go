package shape

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/collector/frame"
	"logferry/internal/record"
)

func recordsOf(lines ...string) []record.Record {
	var list []record.Record
	for i, l := range lines {
		list = append(list, record.Record{Value: []byte(l), Offset: int64(100 * i)})
	}
	return list
}

func textOf(recs []record.Record) []string {
	list := []string{}
	for _, r := range recs {
		list = append(list, string(r.Value))
	}
	return list
}

func TestFiltersLeaveOutAndCountByReason(t *testing.T) {
	lines := []string{"GET /a 200", "", "GET /health 200", "POST /b 500", " \t", "DEBUG x"}
	for _, c := range []struct {
		name  string
		cfg   Config
		want  []string
		count Counts
	}{
		{"include", Config{Include: []string{"^GET", "^POST"}}, []string{"GET /a 200", "GET /health 200", "POST /b 500"}, Counts{Include: 3}},
		{"exclude by text", Config{Exclude: []string{"/health", "DEBUG"}}, []string{"GET /a 200", "", "POST /b 500", " \t"}, Counts{Exclude: 2}},
		{"exclude by pattern", Config{Exclude: []string{" [25]00$"}}, []string{"", " \t", "DEBUG x"}, Counts{Exclude: 3}},
		{"empty", Config{DropEmpty: true}, []string{"GET /a 200", "GET /health 200", "POST /b 500", "DEBUG x"}, Counts{Empty: 2}},
		{"all of it", Config{Include: []string{"GET"}, Exclude: []string{"/health"}, DropEmpty: true}, []string{"GET /a 200"}, Counts{Include: 2, Exclude: 1, Empty: 2}},
		{"everything", Config{Include: []string{"^nothing$"}}, []string{}, Counts{Include: 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.cfg.MaxBytes = 1000
			s, err := New(c.cfg)
			require.NoError(t, err)
			var space Space
			recs, counts := s.Apply(recordsOf(lines...), frame.Bytes, &space)
			require.Equal(t, c.want, textOf(recs))
			require.Equal(t, c.count, counts)
			require.Zero(t, space.Held(), "filters copy nothing")
		})
	}
}

func TestWhatIsKeptKeepsItsOffset(t *testing.T) {
	s, err := New(Config{Exclude: []string{"b"}, MaxBytes: 10})
	require.NoError(t, err)
	recs, _ := s.Apply(recordsOf("a", "b", "c"), frame.Bytes, &Space{})
	require.Equal(t, []int64{0, 200}, []int64{recs[0].Offset, recs[1].Offset})
}

func TestMasksReplaceAndCopyOnlyWhatMatches(t *testing.T) {
	s, err := New(Config{MaxBytes: 1000, Mask: []Mask{
		{Pattern: `(password=)\S+`, Replace: "${1}***"},
		{Pattern: `\b\d{12}(\d{4})\b`, Replace: "************$1"},
		{Pattern: "token", Replace: ""},
	}})
	require.NoError(t, err)
	in := recordsOf("user=a password=secret x", "nothing to hide", "card 4111111111111111 password=p token", "")
	plain := &in[1].Value[0]
	var space Space
	recs, counts := s.Apply(in, frame.Bytes, &space)
	require.Equal(t, []string{"user=a password=*** x", "nothing to hide", "card ************1111 password=*** ", ""}, textOf(recs))
	require.Equal(t, Counts{Masked: 2}, counts)
	require.Same(t, plain, &recs[1].Value[0])
	require.Positive(t, space.Held())
}

func TestFiltersSeeTheTextBeforeItIsMasked(t *testing.T) {
	s, err := New(Config{MaxBytes: 1000, Include: []string{"secret"}, Mask: []Mask{{"secret", "***"}}})
	require.NoError(t, err)
	recs, _ := s.Apply(recordsOf("a secret", "none"), frame.Bytes, &Space{})
	require.Equal(t, []string{"a ***"}, textOf(recs))
}

func TestAMaskCannotMakeARecordLongerThanTheBound(t *testing.T) {
	line := strings.Repeat("ab ", 30)
	for _, drop := range []bool{false, true} {
		s, err := New(Config{MaxBytes: 100, DropLong: drop, Mask: []Mask{{"a", strings.Repeat("x", 50)}}})
		require.NoError(t, err)
		recs, counts := s.Apply(recordsOf(line), frame.Bytes, &Space{})
		if drop {
			require.Empty(t, recs)
			require.Equal(t, Counts{Masked: 1, Dropped: 1}, counts)
			continue
		}
		require.Equal(t, Counts{Masked: 1, Cut: 1}, counts)
		require.Len(t, recs[0].Value, 100)
		require.Equal(t, []record.Header{{Key: record.HeaderTruncated, Value: []byte("90")}}, recs[0].Extra.Headers)
	}
}

func TestALineOfNothingButSecretsIsMaskedInBoundedMemoryAndMarked(t *testing.T) {
	s, err := New(Config{MaxBytes: 1 << 20, Mask: []Mask{{`s(e)c`, "$1"}}})
	require.NoError(t, err)
	recs, counts := s.Apply(recordsOf(strings.Repeat("sec", 100_000)), frame.Bytes, &Space{})
	require.Equal(t, Counts{Masked: 1, Cut: 1}, counts)
	require.Equal(t, strings.Repeat("e", maxMatches), string(recs[0].Value))
	require.Equal(t, "300000", string(recs[0].Extra.Headers[0].Value))
}

func TestASecretAtTheEndOfACutLineIsNotSentInPart(t *testing.T) {
	s, err := New(Config{MaxBytes: 4000, Mask: []Mask{{`\d{16}`, "***"}}})
	require.NoError(t, err)
	line := strings.Repeat("x ", 1995) + "4111111111"
	in := recordsOf(line)
	in[0].Extra = in[0].Extra.With(record.HeaderTruncated, []byte("9999"))
	recs, _ := s.Apply(in, frame.Bytes, &Space{})
	require.Equal(t, strings.Repeat("x ", 1995)[:4000-cutMargin], string(recs[0].Value))
	require.Len(t, recs[0].Extra.Headers, 1)
}

func TestASecretThatAnEarlierMaskCutIsNotSentInPart(t *testing.T) {
	const secret = `"password":"hunter-1234-1234"`
	masks := []Mask{{`\d{4}`, "########"}, {`"password":"[^"]*"`, "***"}}
	for name, c := range map[string]struct{ max, before int }{"matches": {1 << 20, maxMatches - 1}, "bytes": {4000, 442}} {
		t.Run(name, func(t *testing.T) {
			s, err := New(Config{MaxBytes: c.max, Mask: masks})
			require.NoError(t, err)
			recs, counts := s.Apply(recordsOf(strings.Repeat("1234 ", c.before)+secret), frame.Bytes, &Space{})
			require.Equal(t, Counts{Masked: 1, Cut: 1}, counts)
			require.NotContains(t, string(recs[0].Value), "hunter")
			require.True(t, recs[0].Extra.Has(record.HeaderTruncated))
		})
	}
}

func TestValuesInASpaceStayApart(t *testing.T) {
	s, err := New(Config{MaxBytes: 1 << 20, Mask: []Mask{{"#", "sixteen letters."}}})
	require.NoError(t, err)
	var space Space
	for _, keep := range []int{1 << 20, 100, 0} { // it is used again
		var in, want []string
		for i := range 500 {
			text := fmt.Sprintf("%d %s", i, strings.Repeat("#.", i%50))
			in, want = append(in, text), append(want, strings.ReplaceAll(text, "#", "sixteen letters."))
		}
		recs, _ := s.Apply(recordsOf(in...), frame.Bytes, &space)
		require.Equal(t, want, textOf(recs))
		total := 0
		for _, r := range recs {
			total += len(r.Value)
		}
		require.GreaterOrEqual(t, space.Held(), total)
		require.LessOrEqual(t, space.Held(), 2*total+512)
		space.Reset(keep)
		require.Zero(t, space.Held())
	}
}

func TestNothingToDoIsNoShape(t *testing.T) {
	s, err := New(Config{MaxBytes: 10})
	require.NoError(t, err)
	require.Nil(t, s)
	_, err = New(Config{Include: []string{"("}})
	require.ErrorContains(t, err, "include: error parsing regexp: missing closing ): `(`")
}

func TestFiltersAllocateNothingForALine(t *testing.T) {
	s, err := New(Config{MaxBytes: 1000, Exclude: []string{"DEBUG", "TRACE"}, DropEmpty: true})
	require.NoError(t, err)
	recs := recordsOf("GET /a 200", "an other line", "DEBUG it")
	work, space := make([]record.Record, 0, 3), Space{}
	require.Zero(t, testing.AllocsPerRun(100, func() { work, _ = s.Apply(append(work[:0], recs...), frame.Bytes, &space) }))
}

// What is masked holds no match of a mask that replaces with nothing of its own.
func FuzzMask(f *testing.F) {
	f.Add([]byte("a password=x b password= c"), uint16(100))
	f.Add([]byte("\xff\x00password=\xff"), uint16(3))
	s := map[uint16]*Shape{}
	f.Fuzz(func(t *testing.T, line []byte, bound uint16) {
		bound = bound%2000 + 1
		if s[bound] == nil {
			var err error
			s[bound], err = New(Config{MaxBytes: int(bound), Mask: []Mask{{`pass=[a-z]+`, "#"}}})
			require.NoError(t, err)
		}
		if len(line) > int(bound) {
			line = line[:bound]
		}
		in := bytes.Clone(line)
		recs, c := s[bound].Apply([]record.Record{{Value: line}}, frame.Bytes, &Space{})
		require.Equal(t, in, line, "the block is not written to")
		require.Len(t, recs, 1)
		require.LessOrEqual(t, len(recs[0].Value), int(bound))
		if c.Cut == 0 {
			require.NotRegexp(t, `pass=[a-z]+`, string(recs[0].Value))
		}
		if c.Masked == 0 {
			require.True(t, bytes.Equal(in, recs[0].Value))
		}
	})
}

func TestAnAnchoredPatternIsNotLookedForAsText(t *testing.T) {
	s, err := New(Config{Exclude: []string{`^DEBUG$`, `\Atrace\z`}, MaxBytes: 100})
	require.NoError(t, err)
	for value, want := range map[string]Reason{
		"DEBUG": Exclude, "trace": Exclude,
		"a DEBUG line": Kept, "DEBUG ": Kept, "no DEBUG": Kept, "trace it": Kept,
	} {
		var c Counts
		why, _ := s.One(&record.Record{Value: []byte(value)}, frame.Bytes, &Space{}, &c)
		require.Equal(t, want, why, value)
	}
}
