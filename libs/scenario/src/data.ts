/** What a scenario's `data.ts` gets to write its source files with. */
export interface DataContext {
  /** Existing folder to write the sources' files into. */
  readonly directory: string;
  /** Settings given on the command line as `--data name=value`. */
  readonly parameters: Readonly<Record<string, string>>;
  /** Reports progress: units done of a total. */
  progress(done: number, total: number): void;
  /** Extracts files of a Python package (by requirement, for example "recbole==1.2.1") into the folder, without installing it. Throws an Error that says what is missing where Python or pip is not there. */
  pythonPackageFiles(requirement: string, files: readonly string[]): Promise<readonly string[]>;
}

/** Default export of a scenario's `data.ts`: writes every source's file, deterministically. Run once; its files are kept. */
export type PrepareData = (context: DataContext) => Promise<void>;
