package strictyaml

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type color string

func (color) Values() []string { return []string{"red", "green"} }

type house struct {
	Name    string        `yaml:"name"`
	Rooms   []room        `yaml:"rooms"`
	Garden  *room         `yaml:"garden,omitempty"`
	Color   color         `yaml:"color"`
	Wait    time.Duration `yaml:"wait"`
	Levels  int16         `yaml:"levels"`
	Private int           // no tag, no key
}

type room struct {
	Size int  `yaml:"size"`
	Lit  bool `yaml:"lit"`
}

func decode(text string) (house, map[string]int, error) {
	docs, err := Parse([]byte(text), "house.yaml")
	if err != nil {
		return house{}, nil, err
	}
	var h house
	lines, err := docs[0].Decode(&h)
	return h, lines, err
}

func TestStructsListsAndPointersAreFilledAndLocated(t *testing.T) {
	h, lines, err := decode("name: a\nrooms:\n  - size: 1\n    lit: true\n  - {size: 2}\ngarden:\n  size: 3\ncolor: red\nwait: 1m\nlevels: 2\n")
	require.NoError(t, err)
	require.Equal(t, house{Name: "a", Rooms: []room{{1, true}, {2, false}}, Garden: &room{Size: 3}, Color: "red", Wait: time.Minute, Levels: 2}, h)
	require.Equal(t, map[string]int{
		"name": 1, "rooms": 2, "rooms[0]": 3, "rooms[0].size": 3, "rooms[0].lit": 4, "rooms[1]": 5, "rooms[1].size": 5,
		"garden": 6, "garden.size": 7, "color": 8, "wait": 9, "levels": 10,
	}, lines)
}

func TestNestedKeysAreNamedInFull(t *testing.T) {
	for text, want := range map[string]string{
		"rooms:\n  - siez: 1\n":       `house.yaml:2: unknown key "rooms[0].siez"; did you mean "size"?`,
		"garden: {size: 1, size: 2}":  `house.yaml:1: key "garden.size" is given twice, first in line 1; remove one of them`,
		"garden: {lit: perhaps}":      `house.yaml:1: key "garden.lit" must be true or false, not "perhaps"`,
		"levels: 40000":               `house.yaml:1: key "levels" must be a whole number of at most 32767, not "40000"`,
		"private: {}":                 `house.yaml:1: unknown key "private"; known keys are name, rooms, garden, color, wait, levels`,
		"color: blue":                 `house.yaml:1: key "color" cannot be "blue"; it must be one of red, green`,
		"? [a]\n: b\n":                `house.yaml:1: a key must be a plain word, not a list`,
		"name: |\n  x\n y: \"z\n\n\"": `house.yaml:2: not valid YAML: did not find expected key; check the brackets, quotes and indentation around this line`,
	} {
		_, _, err := decode(text)
		require.EqualError(t, err, want)
	}
}

func TestAnErrorIsFoundInItsChain(t *testing.T) {
	inner := &Error{Origin: "f", Text: "x"}
	require.Same(t, inner, AsError(fmt.Errorf("load: %w", errors.Join(errors.New("y"), inner))))
	require.Nil(t, AsError(errors.New("y")))
	require.EqualError(t, inner, "f: x")
}

func TestSuggestionsAreNearOrLeftOut(t *testing.T) {
	known := []string{"topic", "paths", "key", "max_line_bytes"}
	for word, want := range map[string]string{
		"topc": `did you mean "topic"?`, "tpoic": `did you mean "topic"?`, "TOPIC": `did you mean "topic"?`, "topics": `did you mean "topic"?`,
		"max_lines_byte": `did you mean "max_line_bytes"?`, "kex": `did you mean "key"?`,
		"x": "keys: topic, paths, key, max_line_bytes", "": "keys: topic, paths, key, max_line_bytes",
	} {
		require.Equal(t, want, suggest(word, known, "keys:"), word)
	}
}
