package spread

import (
	"strconv"
	"time"
)

// Token identifies a claim in the status and, as the record's uid, the pod that came of it. It is a
// stem of TokenStem characters, drawn at random before the first attempt to write, followed by the
// pod's rank in base 36: at most TokenMax characters. The rank is known only when the claim is
// applied; the stem is how the claim is recognised after a conflict or a lost answer.
type Token string

const (
	// TokenStem is the length of a token's random part: [0-9a-z].
	TokenStem = 8
	// TokenMax is the length of the longest token.
	TokenMax = 12
	// rankMax is the largest rank that fits behind a stem (36⁴ − 1).
	rankMax = 36*36*36*36 - 1
)

// NewToken joins stem and rank; a rank that does not fit is left out.
func NewToken(stem string, rank int32) Token {
	if rank <= 0 || rank > rankMax {
		return Token(stem)
	}
	return Token(stem + strconv.FormatInt(int64(rank), 36))
}

// stem returns the random part of a token, or the whole text when it is none (a pod's name, or a
// UUID that OpenKruise drew).
func (t Token) stem() string {
	if !t.IsOurs() {
		return string(t)
	}
	return string(t[:TokenStem])
}

// IsOurs reports whether the token has the form that Spillway gives: no name, and no UUID.
func (t Token) IsOurs() bool { return len(t) >= TokenStem && len(t) <= TokenMax }

// rank returns the rank that the token carries, or 0.
func (t Token) rank() int32 {
	if len(t) <= TokenStem || len(t) > TokenMax {
		return 0
	}
	n, err := strconv.ParseUint(string(t[TokenStem:]), 36, 31)
	if err != nil {
		return 0
	}
	return int32(n) //nolint:gosec // parsed as 31 bits
}

// A pass is the token of a pod in an unlimited subset that is not claimed from the ledger: nothing in
// the status vouches for it. It carries the second at which it was given, so that a second admission
// of the same request is told from a copied manifest, without any state.

// passMark begins a pass; no stem begins with it.
const passMark = '.'

// PassLife is how long a pass is recognised: the API's longest timeout of a webhook, within which a
// pod comes back to be admitted again.
const PassLife = 30 * time.Second

// Pass returns the pass for a pod admitted at now.
func Pass(now time.Time, stem string) Token {
	t := string(passMark) + strconv.FormatInt(now.Unix(), 36) + stem
	return Token(t[:min(len(t), TokenMax)])
}

// IsPass reports whether the token is a pass given within PassLife of now, by a clock that may be
// ahead or behind by as much.
func (t Token) IsPass(now time.Time) bool {
	const digits = 6 // of a time in base 36, until the year 2038; seven until 4453
	for _, n := range [...]int{digits, digits + 1} {
		if len(t) <= n || t[0] != passMark {
			continue
		}
		at, err := strconv.ParseInt(string(t[1:n+1]), 36, 64)
		if age := now.Sub(time.Unix(at, 0)); err == nil && age < PassLife && age > -PassLife {
			return true
		}
	}
	return false
}
