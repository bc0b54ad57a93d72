import type { Kernel } from './kernel.ts';

/**
 * An event loop that runs continuations.
 *
 * @remarks
 * The thread that made the kernel is CPU 0: `kernel.cpus[0]`.
 *
 * @public
 */
export class Cpu {
  /** 0 for the thread that made the kernel. */
  readonly index: number;
  /** The kernel it belongs to. */
  readonly kernel: Kernel;

  private constructor(kernel: Kernel, index: number) {
    this.kernel = kernel;
    this.index = index;
  }

  /**
   * How a kernel makes one.
   * @internal
   */
  static _make(kernel: Kernel, index: number): Cpu {
    return new Cpu(kernel, index);
  }
}
