// Types of a browser that the declarations of playwright-core name. The specs have no use for them, and the types of a
// browser do not go with those of Node.

interface Node {}
interface HTMLElement {}
interface SVGElement {}
interface HTMLElementTagNameMap {}
