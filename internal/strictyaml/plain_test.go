package strictyaml_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"logferry/internal/strictyaml"
)

func decodePlain(text string, into any) error {
	doc, err := strictyaml.Parse("a.yaml", []byte(text))
	if err != nil {
		return err
	}
	return doc.DecodePlain(into)
}

func TestDecodePlainRefusesEmptyValuesAndReferences(t *testing.T) {
	const empty = "is empty; give it a value or take the line out"
	const reference = "anchors and aliases are not supported here, "
	const writeOut = reference + "write the value out, or quote it if it starts with & or *"
	for in, want := range map[string]string{
		"name: a\nplain:\n":                "a.yaml:2: plain " + empty,
		"name: ~\n":                        "a.yaml:1: name " + empty,
		`{"kafka": {"acks": null}}`:        "a.yaml:1: kafka.acks " + empty,
		"other:\n":                         "a.yaml:1: other " + empty,
		"wait:\n":                          "a.yaml:1: wait " + empty,
		"size:\n":                          "a.yaml:1: size " + empty,
		"labels: {a: }\n":                  "a.yaml:1: labels.a " + empty,
		"paths:\n- a\n-\n":                 "a.yaml:3: paths[1] " + empty,
		"any: {a: [x, ~]}\n":               "a.yaml:1: any " + empty,
		"own:\n  a:\n":                     "a.yaml:2: own " + empty,
		"name: &x a\nplain: *x\n":          "a.yaml:1: name uses &x; " + writeOut,
		"name: &web\n":                     "a.yaml:1: name uses &web; " + writeOut,
		"&d {name: a}\n":                   "a.yaml:1: the document uses &d; " + writeOut,
		"paths: [a, &b c]\n":               "a.yaml:1: paths[1] uses &b; " + writeOut,
		"paths:\n- &b\n":                   "a.yaml:2: paths[0] uses &b; " + writeOut,
		"kafka: &k {acks: all}\n":          "a.yaml:1: kafka uses &k; " + writeOut,
		"any: [{a: &b c}]\n":               "a.yaml:1: any uses &b; " + writeOut,
		"own: {a: &b c}\n":                 "a.yaml:1: own uses &b; " + writeOut,
		"&k name: a\n":                     `a.yaml:1: key "name" uses &k; ` + reference + "take it out",
		"labels:\n  &k name: a\n":          `a.yaml:2: key "name" in labels uses &k; ` + reference + "take it out",
		"kafka:\n  <<: {acks: all}\n":      `a.yaml:2: unknown key "<<" in kafka; the keys here are brokers, acks`,
		"bogus: &x 1\nname: *x\n":          `a.yaml:1: unknown key "bogus"; the keys here are `,
		"name: a\nkafka:\n  brokrs: [a]\n": `a.yaml:3: unknown key "brokrs" in kafka; did you mean "brokers"?`,
	} {
		err := decodePlain(in, new(target))
		require.Error(t, err, in)
		require.True(t, strings.HasPrefix(err.Error(), want), "got  %s\nwant %s", err, want)
	}
}

func TestDecodePlainTakesWhatIsWrittenOut(t *testing.T) {
	var got target
	require.NoError(t, decodePlain("name: \"\"\npaths: []\nother: {}\nplain: '&x'\ncolour: ''\nkafka: {acks: null-ish, brokers: ['*x', \"null\"]}\n", &got))
	require.Equal(t, target{Paths: []string{}, Other: &kafka{}, Plain: "&x", Kafka: kafka{Acks: "null-ish", Brokers: []string{"*x", "null"}}}, got)
	require.NoError(t, decodePlain("# nothing\n", &got))
}

// multiplied returns a document of twelve levels, each of which repeats the
// one before ten times. first takes the anchor of the innermost level, level
// its own number and the aliases it repeats.
func multiplied(first, level string) string {
	var text strings.Builder
	fmt.Fprintf(&text, first, "l0")
	for i := 1; i <= 12; i++ {
		fmt.Fprintf(&text, level, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d, ", i-1), 10), ", "))
	}
	return text.String()
}

// repeated returns a document in which 200 sections share one list of 2,000.
func repeated() string {
	var text strings.Builder
	fmt.Fprintf(&text, "named:\n  first: {brokers: &b [%s]}\n", strings.Repeat("a,", 2000))
	for i := range 200 {
		fmt.Fprintf(&text, "  n%d: {brokers: *b}\n", i)
	}
	return text.String()
}

func TestAliasesThatMultiplyAreRefusedAtOnce(t *testing.T) {
	for name, text := range map[string]string{
		"merge keys": multiplied("named:\n  a: &%s {acks: all}\n", "  n%[1]d: &l%[1]d {<<: [%[2]s]}\n"),
		"lists":      repeated(),
	} {
		err := strictyaml.Decode("a.yaml", []byte(text), new(target))
		require.Error(t, err, name)
		require.Regexp(t, `^a\.yaml:\d+: aliases stand for more than 100000 values; use fewer of them$`, err.Error(), name)
	}

	anything := multiplied("any:\n  - &%s [a]\n", "  - &l%d [%s]\n")
	err := strictyaml.Decode("a.yaml", []byte(anything), new(target))
	require.ErrorContains(t, err, "excessive aliasing")
	require.NotNil(t, strictyaml.AsError(err))
	require.ErrorContains(t, decodePlain(anything, new(target)), "a.yaml:2: any uses &l0; ")
}

func TestAnErrorIsFoundInItsChain(t *testing.T) {
	inner := &strictyaml.Error{Origin: "f", Text: "x"}
	require.Same(t, inner, strictyaml.AsError(fmt.Errorf("load: %w", errors.Join(errors.New("y"), inner))))
	require.Nil(t, strictyaml.AsError(errors.New("y")))
	require.EqualError(t, inner, "f: x")
}

func FuzzDecodePlain(f *testing.F) {
	for _, seed := range []string{
		"name: a\n", "name:\n", "any: &x [*x]\n", "own: {a: &b ~}\n", "named: {a: {<<: {acks: 1}}}\n", "{\"name\":\"\\u0085\u0085\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		docs, err := strictyaml.ParseAll("f.yaml", data)
		for _, doc := range docs {
			if err == nil {
				err = doc.DecodePlain(new(target))
			}
		}
		if err == nil {
			return
		}
		require.NotNil(t, strictyaml.AsError(err))
		require.NotContains(t, err.Error(), "\n")
		require.True(t, strings.HasPrefix(err.Error(), "f.yaml:"), err)
	})
}
