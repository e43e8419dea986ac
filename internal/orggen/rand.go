package orggen

import "math"

// rng is a splitmix64: small, fast, and the same everywhere.
type rng struct{ state uint64 }

func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// rand gives the numbers of one object: a function of seed, kind and place.
func (g *Generator) rand(kind string, i int) rng {
	h := mix(g.o.Seed)
	for j := range len(kind) {
		h = mix(h ^ uint64(kind[j]))
	}
	return rng{mix(h ^ uint64(i))}
}

func (r *rng) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	x := r.state
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// float is in [0, 1).
func (r *rng) float() float64 { return float64(r.next()>>11) / (1 << 53) }

// intn is in [0, n); 0 when n is not positive.
func (r *rng) intn(n int) int {
	if n <= 0 {
		return 0
	}
	return int(r.next() % uint64(n))
}

// between is in [low, high].
func (r *rng) between(low, high int) int { return low + r.intn(high-low+1) }

func (r *rng) chance(p float64) bool { return r.float() < p }

// normal is a standard normal number (Box and Muller).
func (r *rng) normal() float64 {
	u := 1 - r.float()
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*r.float())
}

// lognormal has the median and sigma named.
func (r *rng) lognormal(median, sigma float64) int {
	return int(math.Round(median * math.Exp(sigma*r.normal())))
}

// geometric counts failures before a success of probability p.
func (r *rng) geometric(p float64, most int) int {
	n := 0
	for n < most && !r.chance(p) {
		n++
	}
	return n
}

// skewed prefers the first of n: the more, the larger power is.
func (r *rng) skewed(n int, power float64) int {
	return min(int(float64(n)*math.Pow(r.float(), power)), n-1)
}

func pick[T any](r *rng, list []T) T { return list[r.intn(len(list))] }

// shuffle is a permutation of 0 … n-1 without a table: k → a·k+b mod n.
type shuffle struct{ n, a, b uint64 }

func (g *Generator) shuffle(kind string, i, n int) shuffle {
	r := g.rand(kind, i)
	s := shuffle{n: uint64(max(n, 1))}
	s.b = r.next() % s.n
	for s.a = r.next()%s.n | 1; gcd(s.a, s.n) != 1; {
		s.a += 2
	}
	s.a %= s.n
	if s.n == 1 {
		s.a = 0
	}
	return s
}

func (s shuffle) at(k int) int { return int((s.a*uint64(k) + s.b) % s.n) }

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// split divides total by weights so that the parts sum up to it: what is left
// by rounding goes to the largest remainders, the first of equal ones.
func split(total int, weights []float64) []int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	parts := make([]int, len(weights))
	rest := make([]float64, len(weights))
	left := total
	for i, w := range weights {
		exact := float64(total) * w / sum
		parts[i] = int(exact)
		rest[i] = exact - float64(parts[i])
		left -= parts[i]
	}
	for ; left > 0; left-- {
		best := 0
		for i := range rest {
			if rest[i] > rest[best] {
				best = i
			}
		}
		parts[best]++
		rest[best] = -1
	}
	return parts
}

// scaled gives n of the production profile in the proportion of have to all.
func scaled(n, have, all, least int) int {
	return max(least, int(math.Round(float64(n)*float64(have)/float64(all))))
}
