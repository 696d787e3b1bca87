package expression

import (
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestResults(t *testing.T) {
	for text, want := range map[string]string{
		"max(cpu*50%,50m)": "1/2", "max(cpu*1%, 50m)": "1/20", "min(CPU, 2)": "1/1", "cpu-50m": "19/20", "cpu*33%": "33/100",
		"100m/3": "1/30", "10-4-3": "3/1", "8/2/2": "2/1", "2+3*4": "14/1", "(2+3)*4": "20/1", "1.5Gi": "1610612736/1",
		"-(-1)": "1/1", "1e3": "1000/1", "1E-3": "1/1000", "2 * cpu": "2/1", ".5": "1/2", "1.": "1/1", "3k": "3000/1", "cpu/4+1": "5/4",
		"50% * 200Mi": "104857600/1", "-cpu+2": "1/1",
	} {
		e, err := Parse(text, "cpu")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := e.Evaluate(big.NewRat(1, 1)); err != nil || got.String() != want {
			t.Errorf("%s: got %v, %v; want %s", text, got, err, want)
		}
	}
}

func TestErrorsNameThePosition(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "at position 1: expected a number",
		"100MB":                    `at position 4: unknown unit "MB"`,
		"50x":                      `at position 3: unknown unit "x"`,
		"1E":                       `at position 2: unknown unit "E"`,
		"50%m":                     `at position 4: unexpected "m"`,
		"50m%":                     `at position 4: a quantity is no percentage`,
		"cpu*cpu":                  "at position 4: a quantity is multiplied by a number",
		"2*3m*4m":                  "at position 5: a quantity is multiplied",
		"1/cpu":                    "at position 2: only numbers divide",
		"max(1)":                   `at position 6: max takes two arguments`,
		"min(1,2,3)":               `at position 8: min takes two arguments`,
		"memory":                   `at position 1: unknown name "memory"`,
		"1 + ":                     "at position 5: expected a number",
		"(1":                       `at position 3: expected ")"`,
		"1 2":                      `at position 3: unexpected "2"`,
		"1..2":                     `at position 1: "1..2" is not a number`,
		".":                        `at position 1: "." is not a number`,
		"a\u00e9":                  "at position 1",
		"1 & 2":                    `at position 3: unexpected character '&'`,
		"1e99":                     "the exponent is larger",
		strings.Repeat("(", 100):   "levels deep",
		strings.Repeat("1+", 1000): "longer than",
	} {
		if _, err := Parse(text, "cpu"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20s: got %v, want %s", text, err, want)
		}
	}
}

func TestWhatDependsOnTheValue(t *testing.T) {
	for text, want := range map[string]string{"1/(1-1)": "at position 2: division by zero", "cpu-2": "below zero"} {
		e, err := Parse(text, "cpu")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Evaluate(big.NewRat(1, 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	e, _ := Parse("cpu-2", "cpu")
	if _, err := e.Evaluate(big.NewRat(1, 1)); !errors.Is(err, ErrNegative) {
		t.Error("a negative result cannot be told from a mistake")
	}
	if got, err := e.Evaluate(big.NewRat(3, 1)); err != nil || got.String() != "1/1" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestConstant(t *testing.T) {
	for text, want := range map[string]bool{"200Mi": true, "-(1+2)*3%": true, "max(1m,cpu)": false} {
		if e, err := Parse(text, "cpu"); err != nil || e.Constant() != want {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"max(cpu*50%,50m)", "-(1.5Gi+2)/3", "1e3", "100MB", "min(", "cpu", "((((1))))", "1e-30/3*9e30"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := Parse(text, "cpu")
		if err != nil {
			var at *Error
			if !errors.As(err, &at) || at.Position < 1 || at.Position > len(text)+1 {
				t.Fatalf("%q: no position in %v", text, err)
			}
			return
		}
		a, errA := e.Evaluate(big.NewRat(1, 2))
		b, errB := e.Evaluate(big.NewRat(1, 2))
		if (errA == nil) != (errB == nil) || errA == nil && (a.Cmp(b) != 0 || a.Sign() < 0) {
			t.Errorf("%q: %v, %v and then %v, %v", text, a, errA, b, errB)
		}
	})
}
