package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	long := strings.Repeat("A", maxDescription)
	for name, tc := range map[string]struct{ text, want string }{
		"short text stays":                    {"The name.", "The name."},
		"lines become one":                    {"The\n  name\n", "The name"},
		"only the first paragraph":            {"The name.\n\nFor example: a.", "The name."},
		"whole sentences while they fit":      {"One. Two. " + long + ".", "One. Two."},
		"one sentence even if it is too long": {long + ". Two.", long + "."},
		"no end of a sentence":                {long + long, long + long},
		"an abbreviation is no end":           {"Some (e.g. this), " + long + ". Two.", "Some (e.g. this), " + long + "."},
	} {
		t.Run(name, func(t *testing.T) {
			if got := summary(tc.text); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
