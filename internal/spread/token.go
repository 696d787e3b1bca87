package spread

import (
	"strconv"
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

// token joins stem and rank; a rank that does not fit is left out.
func token(stem string, rank int32) Token {
	if rank <= 0 || rank > rankMax {
		return Token(stem)
	}
	return Token(stem + strconv.FormatInt(int64(rank), 36))
}

// stem returns the random part of a token, or the whole text when it is none (a pod's name, or a
// UUID that OpenKruise drew).
func (t Token) stem() string {
	if len(t) < TokenStem || len(t) > TokenMax {
		return string(t)
	}
	return string(t[:TokenStem])
}

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
