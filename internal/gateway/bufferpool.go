package gateway

import (
	"net/http/httputil"
	"sync"
)

const poolBufferSize = 32 << 10

// NewBufferPool returns a pool of buffers for an httputil.ReverseProxy.
func NewBufferPool() httputil.BufferPool { return &bufferPool{} }

// bufferPool is an httputil.BufferPool.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if buffer, ok := p.pool.Get().(*[poolBufferSize]byte); ok {
		return buffer[:]
	}
	return make([]byte, poolBufferSize)
}

func (p *bufferPool) Put(buffer []byte) {
	if len(buffer) == poolBufferSize {
		p.pool.Put((*[poolBufferSize]byte)(buffer))
	}
}
